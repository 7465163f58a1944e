import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { href, route } from "../router.js";
import type { Session } from "../session.js";
import { ErrorBoundary } from "../ui/boundary.js";
import { Button } from "../ui/button.js";
import { Icon } from "../ui/icon.js";
import { shortKey } from "../ui/key.js";
import { Page } from "../ui/panel.js";
import { Account } from "./account.js";
import { Banner, ConnectionState } from "./connection.js";
import { Help } from "./help.js";
import { LogOutDialog } from "./log-out.js";
import { loaded, loadPage, PAGES, type PageName, preloadPages } from "./pages.js";
import { CircleSwitcher } from "./switcher.js";

const NAMES = Object.keys(PAGES) as PageName[];

/** The frame around the pages of a circle: navigation, circle, account, connection. */
export function Frame({ session, page }: { session: Session; page: PageName }) {
  const [isOpen, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const shown = useRef(page);
  const place = [page, ...route.value.rest].join("/");
  useEffect(() => {
    setOpen(false);
    void loadPage(page);
  }, [page]);
  useEffect(() => {
    // Whoever reads the page aloud is told that it is another one. Otherwise, the focus stays, unless what had it is gone.
    if (shown.current !== page || document.activeElement === document.body) main.current?.focus();
    shown.current = page;
  }, [place]);
  const phase = session.phase.value;
  useEffect(() => {
    if (phase !== "ready") return;
    // It may have failed while the server was down.
    void loadPage(shown.current);
    return preloadPages();
  }, [phase]);
  // At once: the key may come before the next frame is drawn.
  useLayoutEffect(() => {
    if (!isOpen) return;
    const onKey = (event: KeyboardEvent) => event.key === "Escape" && setOpen(false);
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [isOpen]);
  const { Page: Shown, error } = loaded.value[page] ?? {};
  return (
    <div class="frame">
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <div class="topbar" role="region" aria-label="Page">
        <Button kind="quiet" label="Navigation" class="icon-only" expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          <Icon name="menu" />
        </Button>
        <code class="grow" title={session.pk}>
          {shortKey(session.pk)}
        </code>
        <ConnectionState session={session} short />
      </div>
      {isOpen && <div class="scrim" aria-hidden="true" onClick={() => setOpen(false)} />}
      <header class={isOpen ? "side open" : "side"}>
        <div class="brand">
          <span class="mark" />
          circled
        </div>
        <CircleSwitcher session={session} />
        <nav class="nav" aria-label="Pages">
          {NAMES.map((name) => (
            <a
              key={name}
              href={href(name)}
              aria-current={name === page ? "page" : undefined}
              onPointerEnter={() => loadPage(name)}
              onFocus={() => loadPage(name)}
            >
              <Icon name={name} />
              {PAGES[name].title}
            </a>
          ))}
        </nav>
        <Account session={session} />
      </header>
      <main class="main" id="main" tabIndex={-1} ref={main}>
        <Banner session={session} />
        <ErrorBoundary place={place}>
          {Shown && <Shown key={page} session={session} />}
          {error !== undefined && (
            <Page title={PAGES[page].title}>
              <div class="stack">
                <div class="error-note" role="alert">
                  <strong>This page couldn't be loaded: the server can't be reached</strong>
                  {phase !== "ready" && <span>It is tried again once the connection is back.</span>}
                </div>
                <div>
                  <Button onClick={() => loadPage(page)}>Try again</Button>
                </div>
              </div>
            </Page>
          )}
        </ErrorBoundary>
      </main>
      <Help />
      <LogOutDialog session={session} />
    </div>
  );
}
