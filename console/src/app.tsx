import { effect } from "@preact/signals";
import { Frame } from "./frame/frame.js";
import { PAGES, pageOf } from "./frame/pages.js";
import { startShortcuts } from "./frame/shortcuts.js";
import { LicensesPage } from "./login/licenses.js";
import { LoginPage } from "./login/page.js";
import { startResuming } from "./login/resume.js";
import { route } from "./router.js";
import { session } from "./session.js";
import { Confirmations } from "./ui/dialog.js";
import { shortKey } from "./ui/key.js";
import { Toasts } from "./ui/toasts.js";

startResuming();
startShortcuts();
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
      {!circle && page === "licenses" ? (
        <LicensesPage />
      ) : circle && current?.pk === circle ? (
        <Frame session={current} page={pageOf(page)} key={circle} />
      ) : (
        <LoginPage key={circle ?? ""} circle={circle} />
      )}
      <Confirmations />
      <Toasts />
    </>
  );
}
