import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

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

interface SplitProps {
  readonly list: ComponentChildren;
  readonly detail?: ComponentChildren;
  /** Closes the detail; Escape does so, too. */
  readonly onClose: () => void;
}

/**
 * A list and its detail, side by side; on narrow screens the detail alone, where there is one. Scrolls each by itself. The focus
 * stays in the list when a row is opened, and goes back there when the detail closes.
 */
export function Split({ list, detail, onClose }: SplitProps) {
  const box = useRef<HTMLDivElement>(null);
  const isOpen = Boolean(detail);
  const wasOpen = useRef(isOpen);
  useLayoutEffect(() => {
    if (wasOpen.current === isOpen) return;
    wasOpen.current = isOpen;
    const has = document.activeElement;
    // What had the focus is still seen.
    if (has && has !== document.body && has.getClientRects().length > 0) return;
    box.current?.querySelector<HTMLElement>(isOpen ? ".split-detail" : ".split-list [tabindex='0']")?.focus();
  }, [isOpen]);
  return (
    <div
      ref={box}
      class={isOpen ? "split with-detail" : "split"}
      onKeyDown={(event) => {
        // An Escape in a dialog or an editor is theirs, and one in a text that is typed loses nothing.
        const isOthers =
          event.target instanceof Element && event.target.closest("dialog, input, select, textarea, .code-host");
        if (event.key !== "Escape" || !isOpen || event.defaultPrevented || isOthers) return;
        event.preventDefault();
        onClose();
      }}
    >
      <div class="split-list">{list}</div>
      {isOpen && (
        <div class="split-detail" tabIndex={-1}>
          {detail}
        </div>
      )}
    </div>
  );
}
