/** Which pages there are, and how they come: each is a file of its own, loaded when it is first opened. */

import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { OverviewPage } from "../pages/overview.js";
import type { Session } from "../session.js";

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
type PageComponent = ComponentType<{ session: Session }>;

/** Returns the page of an address; the overview, if there is none of that name. */
export function pageOf(name: string): PageName {
  return Object.hasOwn(PAGES, name) ? (name as PageName) : "overview";
}

/** How many times a page couldn't be loaded. Browsers remember that a file wasn't there: then its address is another one. */
let failures = 0;
const load = (name: PageName) => import(new URL(`./${name}.js${failures ? `?${failures}` : ""}`, import.meta.url).href);
const LOADERS: Record<PageName, () => Promise<PageComponent>> = {
  overview: async () => OverviewPage,
  store: async () => ((await load("store")) as typeof import("../pages/store.js")).StorePage,
  scripts: async () => ((await load("scripts")) as typeof import("../pages/scripts.js")).ScriptsPage,
  live: async () => ((await load("live")) as typeof import("../pages/live.js")).LivePage,
  jobs: async () => ((await load("jobs")) as typeof import("../pages/jobs.js")).JobsPage,
  deliveries: async () => ((await load("deliveries")) as typeof import("../pages/deliveries.js")).DeliveriesPage,
  members: async () => ((await load("members")) as typeof import("../pages/members.js")).MembersPage,
  api: async () => ((await load("api")) as typeof import("../pages/api.js")).ApiPage,
};

/** The pages that are loaded, and why others can't be. */
export const loaded = signal<{
  readonly [Name in PageName]?: { readonly Page?: PageComponent; readonly error?: unknown };
}>({
  overview: { Page: OverviewPage },
});
const underWay = new Set<PageName>();

/** Loads a page, once. After an error, again, where it is asked for again. */
export async function loadPage(name: PageName): Promise<void> {
  if (underWay.has(name) || loaded.peek()[name]?.Page) return;
  underWay.add(name);
  try {
    const Page = await LOADERS[name]();
    loaded.value = { ...loaded.peek(), [name]: { Page } };
  } catch (error) {
    failures++;
    loaded.value = { ...loaded.peek(), [name]: { error } };
  } finally {
    underWay.delete(name);
  }
}

const whenIdle = globalThis.requestIdleCallback ?? ((next: () => void) => setTimeout(next, 200));

/** Loads all pages, one after the other, when the browser has nothing to do: they are there if the server is down later. Returns what ends that. */
export function preloadPages(): () => void {
  const names = (Object.keys(PAGES) as PageName[]).filter((name) => !loaded.peek()[name]?.Page);
  let isOver = false;
  const next = async () => {
    const name = names.shift();
    if (!name || isOver) return;
    await loadPage(name);
    whenIdle(next);
  };
  whenIdle(next);
  return () => {
    isOver = true;
  };
}
