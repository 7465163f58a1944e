/** The shortcuts of the keyboard: `g` and a letter goes to a page, `/` to the search, `?` shows them all. */

import { effect, signal } from "@preact/signals";
import { navigate, route } from "../router.js";
import { session } from "../session.js";
import { nextTheme } from "../theme.js";
import { PAGES } from "./pages.js";

/** True while the list of shortcuts is shown. */
export const isHelpShown = signal(false);

/** The time in which the second key has to follow, in milliseconds. */
const PAUSE = 1500;

/** Returns true if a key is meant for what has the focus. */
function isTyping(event: KeyboardEvent): boolean {
  const target = event.composedPath()[0];
  return (
    target instanceof Element && target.closest("input, textarea, select, [contenteditable='true'], dialog") !== null
  );
}

/** Listens to the keyboard from now on. */
export function startShortcuts(): void {
  let began = Number.NEGATIVE_INFINITY;
  effect(() => {
    if (route.value) isHelpShown.value = false;
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event)) return;
    if (!session.peek()) return;
    const isSecond = event.timeStamp - began < PAUSE;
    began = Number.NEGATIVE_INFINITY;
    const page = Object.entries(PAGES).find(([, { letter }]) => letter === event.key)?.[0];
    if (isSecond && page) navigate(page);
    else if (isSecond && event.key === "t") nextTheme();
    else if (event.key === "g") began = event.timeStamp;
    else if (event.key === "?") isHelpShown.value = true;
    else if (event.key === "/") document.querySelector<HTMLElement>("main [data-search]")?.focus();
    else return;
    event.preventDefault();
  });
}
