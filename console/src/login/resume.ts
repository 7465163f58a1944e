/** Opens the circle of the address, if this browser can log in there without asking anybody. */

import { effect, signal } from "@preact/signals";
import { loadPage, pageOf } from "../frame/pages.js";
import { route } from "../router.js";
import { cancelOpening, session } from "../session.js";
import { resume } from "./login.js";

/** How that goes, for the login page. */
export const resuming = signal<{ readonly busy: boolean; readonly error?: unknown }>({ busy: false });

/** Does so from now on, whenever the circle is another one. */
export function startResuming(): void {
  let asked: string | undefined;
  effect(() => {
    const { circle } = route.value;
    if (circle === asked) return;
    asked = circle;
    cancelOpening(circle);
    if (!circle || session.peek()?.pk === circle) {
      resuming.value = { busy: false };
      return;
    }
    resuming.value = { busy: true };
    void loadPage(pageOf(route.peek().page));
    resume(circle).then(
      () => circle === asked && set({ busy: false }),
      (error) => circle === asked && set({ busy: false, error }),
    );
  });
}

function set(state: typeof resuming.value): void {
  resuming.value = state;
}
