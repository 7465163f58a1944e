import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface Titled {
  readonly title: ComponentChildren;
  readonly actions?: ComponentChildren;
  readonly children?: ComponentChildren;
}

/** A page: its title, its actions, and its content, which fills what is left (`fill`) or scrolls. */
export function Page({ title, actions, children, fill = false }: Titled & { fill?: boolean }) {
  return (
    <div class={fill ? "page fill" : "page"}>
      <header class="page-head">
        <h1>{title}</h1>
        {actions && <div class="row">{actions}</div>}
      </header>
      <div class="page-body">{children}</div>
    </div>
  );
}

/** A part of a page, with a title. */
export function Panel({ title, actions, children }: Titled) {
  const id = useId();
  return (
    <section class="panel" aria-labelledby={id}>
      <header class="panel-head">
        <h2 id={id}>{title}</h2>
        {actions && <div class="row">{actions}</div>}
      </header>
      <div class="panel-body">{children}</div>
    </section>
  );
}

/** A list and its detail, side by side; on narrow screens the detail alone, where there is one. Scrolls each by itself. */
export function Split({ list, detail }: { list: ComponentChildren; detail?: ComponentChildren }) {
  return (
    <div class={detail ? "split with-detail" : "split"}>
      <div class="split-list">{list}</div>
      {detail && <div class="split-detail">{detail}</div>}
    </div>
  );
}
