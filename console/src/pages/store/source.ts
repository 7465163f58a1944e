/** The sources of the pages of the store's list: a watch for each page that is on the screen, or `store_list`. */

import { stringify } from "@circled/client/json";
import type { Session } from "../../session.js";
import { LEVEL, type LevelArgs, type LevelPage } from "./scripts.js";

/** Is given a page: its rows, or an error. */
export type Listener = (page: LevelPage | undefined, error: Error | undefined) => void;

/** A source of pages. */
export interface Source {
  /** True: pages are followed, and tell whenever they change. False: they are read once. */
  readonly isLive: boolean;
  /** Reads a page, and goes on to tell what becomes of it. Returns what ends that. */
  follow(args: LevelArgs, listener: Listener): () => void;
}

/** The pages that are followed at once. The server bounds the watches of a session; further pages are read once. */
const MOST_FOLLOWED = 24;

/** The store as scripts of the caller see it. */
export function watchSource({ circle }: Session): Source {
  let followed = 0;
  return {
    isLive: true,
    follow(args, listener) {
      let leave = () => {};
      const begin = (args: LevelArgs) => {
        if (followed >= MOST_FOLLOWED) {
          const abort = new AbortController();
          leave = () => abort.abort();
          const { signal } = abort;
          const read = circle.play<LevelPage>(LEVEL, args, { signal });
          read.then(
            ({ value }) => signal.aborted || listener(value, undefined),
            (error) => signal.aborted || onError(args, error),
          );
          return;
        }
        followed++;
        const unsubscribe = circle.watch<LevelPage>({ script: LEVEL }, args).subscribe(({ status, value, error }) => {
          if (error) onError(args, error);
          else if (value && status === "live") listener(value, undefined);
        });
        leave = () => {
          followed--;
          unsubscribe();
        };
      };
      const onError = (args: LevelArgs, error: Error) => {
        if (!args.values) return listener(undefined, error);
        // The values may be too large for one run: then the keys alone.
        queueMicrotask(() => {
          if (isOver) return;
          leave();
          begin({ ...args, values: false });
        });
      };
      let isOver = false;
      begin(args);
      return () => {
        isOver = true;
        leave();
      };
    },
  };
}

/** The store by `store_list`, for whoever may manage and not play: keys without groups, not live. */
export function listSource({ circle }: Session): Source {
  return {
    isLive: false,
    follow({ prefix, start, limit }, listener) {
      const abort = new AbortController();
      const { signal } = abort;
      const list = circle.storeList({ prefix, limit, ...(start === null ? {} : { cursor: start }) }, { signal });
      list.then(
        ({ entries, cursor }) => {
          const rows = entries.map(({ key, value, expires_at }) => {
            const text = stringify(value);
            const leaf = { key, value: text.slice(0, 160), size: text.length };
            return expires_at ? { ...leaf, expires: Date.parse(expires_at) } : leaf;
          });
          if (!signal.aborted) listener({ rows, next: cursor ?? null }, undefined);
        },
        (error) => signal.aborted || listener(undefined, error),
      );
      return () => abort.abort();
    },
  };
}
