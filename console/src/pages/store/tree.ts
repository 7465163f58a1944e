/**
 * The tree of the store's keys. A level is the keys behind one prefix, in pages: [start, end) in the order of the keys. A page
 * is read, and followed, while one of its rows is on the screen.
 */

import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { FULL_PAGE, type Group, type Leaf, PAGE } from "./scripts.js";
import type { Source } from "./source.js";

/** A row of the list. */
export type Row = { readonly id: string; readonly depth: number; readonly page: Page } & (
  | { readonly leaf: Leaf }
  | { readonly group: Group; readonly isOpen: boolean }
  /** A page that isn't read yet, or a level without keys. */
  | { readonly note: "loading" | "empty" | Error }
);

/** How long a page is followed after its last row has left the screen, in milliseconds. */
const LINGER = 500;

/** A part of a level. */
export class Page {
  readonly start: string | null;
  end: string | null;
  /** Undefined until it is read. */
  rows: readonly (Leaf | Group)[] | undefined;
  error: Error | undefined;
  readonly #level: Level;
  #users = 0;
  #leave: (() => void) | undefined;

  constructor(level: Level, start: string | null, end: string | null) {
    this.#level = level;
    this.start = start;
    this.end = end;
  }

  /** Has the page followed until the function that it returns is called. */
  retain = (): (() => void) => {
    this.#users++;
    if (!this.#leave) this.#follow();
    return () => {
      this.#users--;
      setTimeout(() => {
        if (this.#users === 0) this.leave();
      }, LINGER);
    };
  };

  /** Moves its end, and reads it anew. */
  extend(end: string | null): void {
    this.end = end;
    if (!this.#leave) return;
    this.leave();
    this.#follow();
  }

  leave(): void {
    this.#leave?.();
    this.#leave = undefined;
  }

  #follow(): void {
    const { source, prefix, isFlat } = this.#level;
    // What has been read once, and is not live, stays.
    if (!source.isLive && this.rows) return;
    const { start, end } = this;
    const limit = end === null ? PAGE : FULL_PAGE;
    this.#leave = source.follow({ prefix, start, end, limit, flat: isFlat, values: true }, (page, error) => {
      // It may tell at once, and then go on until it is left below.
      if (this.end !== end) return;
      this.error = error;
      if (page) {
        this.rows = page.rows;
        this.#level.onRead(this, page.next);
      }
      this.#level.onChange();
    });
    if (this.end !== end && source.isLive) this.extend(this.end);
  }
}

/** The keys behind a prefix. */
export class Level {
  readonly source: Source;
  readonly prefix: string;
  readonly isFlat: boolean;
  readonly onChange: () => void;
  readonly pages: Page[];

  constructor(source: Source, prefix: string, isFlat: boolean, onChange: () => void) {
    this.source = source;
    this.prefix = prefix;
    this.isFlat = isFlat;
    this.onChange = onChange;
    this.pages = [new Page(this, null, null)];
  }

  /** A page was read. If it is full, the rest becomes a page of its own; if it is empty, it becomes a part of the one before. */
  onRead(page: Page, next: string | null): void {
    const at = this.pages.indexOf(page);
    if (next !== null) {
      const rest = new Page(this, next, page.end);
      this.pages.splice(at + 1, 0, rest);
      if (this.source.isLive) page.extend(next);
      else page.end = next;
    } else if (page.rows?.length === 0 && at > 0) {
      this.pages.splice(at, 1);
      page.leave();
      this.pages[at - 1]?.extend(page.end);
    }
  }

  leave(): void {
    for (const page of this.pages) page.leave();
  }
}

/** The tree, with the groups that are open. */
export class Tree {
  readonly #source: Source;
  readonly #isFlat: boolean;
  readonly #prefix: string;
  readonly #levels = new Map<string, Level>();
  readonly #open: Set<string>;
  readonly #version = signal(0);
  /** The rows as they are to be shown, from the top. */
  readonly rows: ReadonlySignal<readonly Row[]>;

  /** Begins with the keys behind `prefix`; all of them if it is flat. `open` are the groups that are open. */
  constructor(source: Source, prefix: string, isFlat: boolean, open: readonly string[] = []) {
    this.#source = source;
    this.#prefix = prefix;
    this.#isFlat = isFlat;
    this.#open = new Set(open);
    this.rows = computed(() => {
      this.#version.value;
      const rows: Row[] = [];
      this.#list(prefix, 0, rows);
      return rows;
    });
  }

  /** Opens or closes a group. */
  toggle(group: string, isOpen = !this.#open.has(group)): void {
    if (isOpen === this.#open.has(group)) return;
    if (isOpen) this.#open.add(group);
    else {
      this.#open.delete(group);
      for (const [prefix, level] of this.#levels) {
        if (!prefix.startsWith(group)) continue;
        level.leave();
        this.#levels.delete(prefix);
      }
    }
    this.#version.value++;
  }

  isOpen(group: string): boolean {
    return this.#open.has(group);
  }

  /** The one page of the root, if there are no keys. */
  get emptyPage(): Page | undefined {
    this.#version.value;
    const [page, second] = this.#level(this.#prefix).pages;
    return !second && page?.rows?.length === 0 ? page : undefined;
  }

  /** Ends all that is followed. */
  close(): void {
    for (const level of this.#levels.values()) level.leave();
  }

  #level(prefix: string): Level {
    const found = this.#levels.get(prefix);
    if (found) return found;
    const level = new Level(this.#source, prefix, this.#isFlat, () => {
      this.#version.value++;
    });
    this.#levels.set(prefix, level);
    return level;
  }

  #list(prefix: string, depth: number, rows: Row[]): void {
    for (const page of this.#level(prefix).pages) {
      const note = page.error ?? (page.rows ? (page.rows.length === 0 ? "empty" : undefined) : "loading");
      if (note) rows.push({ id: `note ${prefix} ${page.start ?? ""}`, depth, page, note });
      for (const row of page.rows ?? []) {
        if ("key" in row) {
          rows.push({ id: `key ${row.key}`, depth, page, leaf: row });
          continue;
        }
        const isOpen = this.#open.has(row.group);
        rows.push({ id: `group ${row.group}`, depth, page, group: row, isOpen });
        if (isOpen) this.#list(row.group, depth + 1, rows);
      }
    }
  }
}

/** Returns the groups that a key or a group is in, from the outside. */
export function groupsAbove(key: string): string[] {
  return [...key.matchAll(/[/:]/g)].map(({ index }) => key.slice(0, index + 1)).filter((group) => group !== key);
}
