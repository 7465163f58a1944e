import type { ComponentChildren, TargetedMouseEvent } from "preact";
import { useId } from "preact/hooks";

export interface ButtonProps {
  readonly children: ComponentChildren;
  readonly onClick?: ((event: TargetedMouseEvent<HTMLButtonElement>) => void) | undefined;
  readonly kind?: "primary" | "danger" | "quiet" | undefined;
  readonly disabled?: boolean | undefined;
  /** Why it can't be used. It stays focusable, and says so. */
  readonly why?: string | undefined;
  readonly busy?: boolean | undefined;
  readonly type?: "button" | "submit" | undefined;
  /** The name for those who don't see it, where the content is an icon. */
  readonly label?: string | undefined;
  readonly small?: boolean | undefined;
  readonly expanded?: boolean | undefined;
  readonly pressed?: boolean | undefined;
  readonly class?: string | undefined;
}

/** A button. With `why`, it is disabled, and tells why when it has the focus or the pointer. */
export function Button(props: ButtonProps) {
  const { kind, why, busy = false, small, label, type = "button" } = props;
  const id = useId();
  const isOff = Boolean(why) || busy || props.disabled;
  const classes = ["button", kind, small && "small", busy && "busy", props.class].filter(Boolean).join(" ");
  return (
    <span class="button-box">
      <button
        type={type}
        class={classes}
        aria-label={label}
        title={why ?? label}
        disabled={props.disabled && !why}
        aria-disabled={isOff ? true : undefined}
        aria-busy={busy ? true : undefined}
        aria-expanded={props.expanded}
        aria-pressed={props.pressed}
        aria-describedby={why ? id : undefined}
        onClick={(event) => {
          if (isOff) event.preventDefault();
          else props.onClick?.(event);
        }}
      >
        {props.children}
      </button>
      {why && (
        <span class="tip" role="tooltip" id={id}>
          {why}
        </span>
      )}
    </span>
  );
}
