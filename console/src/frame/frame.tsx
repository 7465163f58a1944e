import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { href, route } from "../router.js";
import type { Session } from "../session.js";
import { ErrorBoundary } from "../ui/boundary.js";
import { Button } from "../ui/button.js";
import { Icon, type IconName } from "../ui/icon.js";
import { Account } from "./account.js";
import { Banner } from "./connection.js";
import { Help } from "./help.js";
import { CircleSwitcher } from "./switcher.js";

export type Pages = Record<string, { title: string; letter: string; Page: ComponentType<{ session: Session }> }>;

/** The frame around the pages of a circle: navigation, circle, account, connection. */
export function Frame({ session, pages, page }: { session: Session; pages: Pages; page: string }) {
  const [isOpen, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const shown = useRef(page);
  useEffect(() => {
    setOpen(false);
    // Whoever reads the page aloud is told that it is another one.
    if (shown.current !== page) main.current?.focus();
    shown.current = page;
  }, [page]);
  const now = pages[page];
  const Now = now?.Page;
  return (
    <div class="frame">
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <div class="topbar" role="region" aria-label="Page">
        <Button kind="quiet" label="Navigation" class="icon-only" expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="menu" />
        </Button>
        <span class="grow">{now?.title}</span>
      </div>
      {isOpen && <div class="scrim" aria-hidden="true" onClick={() => setOpen(false)} />}
      <header class={isOpen ? "side open" : "side"} onKeyDown={(event) => event.key === "Escape" && setOpen(false)}>
        <div class="brand">
          <span class="mark" />
          circled
        </div>
        <CircleSwitcher session={session} />
        <nav class="nav" aria-label="Pages">
          {Object.entries(pages).map(([name, { title }]) => (
            <a key={name} href={href(name)} aria-current={name === page ? "page" : undefined}>
              <Icon name={name as IconName} />
              {title}
            </a>
          ))}
        </nav>
        <Account session={session} />
      </header>
      <main class="main" id="main" tabIndex={-1} ref={main}>
        <Banner session={session} />
        <ErrorBoundary key={`${page}/${route.value.rest.join("/")}`}>{Now && <Now session={session} />}</ErrorBoundary>
      </main>
      <Help pages={pages} />
    </div>
  );
}
