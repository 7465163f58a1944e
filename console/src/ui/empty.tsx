import type { ComponentChildren } from "preact";

/** What stands where a list would be: says what to do first. */
export function Empty(props: { title: string; action?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{props.title}</h2>
      {props.children && <div class="empty-text">{props.children}</div>}
      {props.action && <div class="row">{props.action}</div>}
    </div>
  );
}
