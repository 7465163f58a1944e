import { effect } from "@preact/signals";
import type { ComponentType } from "preact";
import { Frame } from "./frame/frame.js";
import { startShortcuts } from "./frame/shortcuts.js";
import { LoginPage } from "./login/page.js";
import { startResuming } from "./login/resume.js";
import { ApiPage } from "./pages/api.js";
import { DeliveriesPage } from "./pages/deliveries.js";
import { JobsPage } from "./pages/jobs.js";
import { LivePage } from "./pages/live.js";
import { MembersPage } from "./pages/members.js";
import { OverviewPage } from "./pages/overview.js";
import { ScriptsPage } from "./pages/scripts.js";
import { StorePage } from "./pages/store.js";
import { route } from "./router.js";
import { type Session, session } from "./session.js";
import { Confirmations } from "./ui/dialog.js";
import { shortKey } from "./ui/key.js";
import { Toasts } from "./ui/toasts.js";

/** All pages, in the order of the navigation; the letter follows `g` as a shortcut. */
export const PAGES = {
  overview: { title: "Overview", letter: "o", Page: OverviewPage },
  store: { title: "Store", letter: "s", Page: StorePage },
  scripts: { title: "Scripts", letter: "c", Page: ScriptsPage },
  live: { title: "Live", letter: "l", Page: LivePage },
  jobs: { title: "Jobs", letter: "j", Page: JobsPage },
  deliveries: { title: "Deliveries", letter: "d", Page: DeliveriesPage },
  members: { title: "Members and keys", letter: "m", Page: MembersPage },
  api: { title: "API", letter: "a", Page: ApiPage },
} as const satisfies Record<string, { title: string; letter: string; Page: ComponentType<{ session: Session }> }>;

export type PageName = keyof typeof PAGES;

/** Returns the page of an address; the overview, if there is none of that name. */
function pageOf(name: string): PageName {
  return Object.hasOwn(PAGES, name) ? (name as PageName) : "overview";
}

startResuming();
startShortcuts(PAGES);
effect(() => {
  const { circle, page } = route.value;
  document.title = circle ? `${PAGES[pageOf(page)].title} · ${shortKey(circle)} · circled` : "circled";
});

/** The console: the login page, or a page of the circle in its frame. */
export function App() {
  const { circle, page } = route.value;
  const current = session.value;
  return (
    <>
      {circle && current?.pk === circle ? (
        <Frame session={current} pages={PAGES} page={pageOf(page)} key={circle} />
      ) : (
        <LoginPage key={circle ?? ""} circle={circle} />
      )}
      <Confirmations />
      <Toasts />
    </>
  );
}
