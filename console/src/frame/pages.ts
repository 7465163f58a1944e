/** Which pages there are, and how they come. */

import { signal } from "@preact/signals";

/** All pages, in the order of the navigation; the letter follows `g` as a shortcut. */
export const PAGES = {
  overview: { title: "Overview", letter: "o" },
  store: { title: "Store", letter: "s" },
  scripts: { title: "Scripts", letter: "c" },
  live: { title: "Live", letter: "l" },
  jobs: { title: "Jobs", letter: "j" },
  deliveries: { title: "Deliveries", letter: "d" },
  members: { title: "Members and keys", letter: "m" },
  api: { title: "API", letter: "a" },
} as const;

export type PageName = keyof typeof PAGES;

/** Returns the page of an address; the overview, if there is none of that name. */
export function pageOf(name: string): PageName {
  return Object.hasOwn(PAGES, name) ? (name as PageName) : "overview";
}

type Loaded = typeof import("../pages/index.js")["COMPONENTS"];

/** The pages, once they are loaded; or why they can't be. */
export const loaded = signal<{ readonly pages?: Loaded; readonly error?: unknown }>({});

/** Loads the pages, once. */
export async function loadPages(): Promise<void> {
  if (loaded.peek().pages) return;
  try {
    const { COMPONENTS } = await import("../pages/index.js");
    loaded.value = { pages: COMPONENTS };
  } catch (error) {
    loaded.value = { error };
  }
}
