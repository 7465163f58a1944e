/** Light, dark, or as the system has it. */

import { computed, effect, signal } from "@preact/signals";
import { keep, kept } from "./local.js";

export type Theme = "auto" | "light" | "dark";

const ALL: readonly Theme[] = ["auto", "light", "dark"];

/** The theme that the user has chosen. */
export const theme = signal<Theme>(ALL.find((one) => one === kept("theme")) ?? "auto");

const DARK = matchMedia("(prefers-color-scheme: dark)");
const isDark = signal(DARK.matches);
DARK.addEventListener("change", () => {
  isDark.value = DARK.matches;
});

/** The theme that is shown. */
export const shownTheme = computed(() => (theme.value === "auto" ? (isDark.value ? "dark" : "light") : theme.value));

/** Has the page follow the theme: `data-theme` is `light` or `dark`. */
export function startTheme(): void {
  effect(() => {
    document.documentElement.dataset.theme = shownTheme.value;
    keep("theme", theme.value);
  });
}

/** Changes to the next theme. */
export function nextTheme(): void {
  theme.value = ALL[(ALL.indexOf(theme.value) + 1) % ALL.length] ?? "auto";
}
