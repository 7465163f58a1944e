/** Live queries: the value of a script, again whenever it changes. */

import {
  type CircleError,
  EndedError,
  ExecutionError,
  isOwnClose,
  NotFoundError,
  type RpcError,
  rpcError,
} from "./errors.js";
import type { Feed, Feeds } from "./feeds.js";
import type { View } from "./generated.js";
import { type Json, stringify } from "./json.js";
import { isolated } from "./listener.js";

/** What is watched: a named script of the circle, a source, or a view. */
export type Query =
  | string
  | { readonly name: string; readonly version?: string }
  | { readonly script: string }
  | { readonly view: View };

/** A watch at one moment. It is another object only if something has changed. */
export interface Snapshot<T = Json> {
  /**
   * - `loading`: there is no value yet;
   * - `live`: `value` is as the server has it;
   * - `stale`: the connection is lost, `value` is what it was, and will be live again;
   * - `failed`: the script fails now, see `error`; it is watched on;
   * - `ended`: there will be no other value, see `error`.
   */
  readonly status: "loading" | "live" | "stale" | "failed" | "ended";
  /** The last value. */
  readonly value: T | undefined;
  /** The number of a commit of the circle at which the value is so. */
  readonly at: number | undefined;
  readonly error: Error | undefined;
}

const LOADING: Snapshot<never> = { status: "loading", value: undefined, at: undefined, error: undefined };

/** All watches of a connection: those of the same script with the same arguments are one. */
export class Watches {
  readonly #feeds: Feeds;
  readonly #active = new Map<string, Watch<unknown>>();

  constructor(feeds: Feeds) {
    this.#feeds = feeds;
  }

  get<T>(query: Query, args: unknown): Watch<T> {
    const params = { ...(typeof query === "string" ? { name: query } : query), args };
    const key = stringify(params);
    return new Watch<T>(this.#feeds, this.#active, key, params);
  }
}

/**
 * A live query. It is a store for React's `useSyncExternalStore` (`subscribe`, `getSnapshot`) and for Svelte and Vue
 * (`subscribe` calls the listener at once with the snapshot, and again whenever that changes), and an async iterable of
 * values. The server runs it while somebody listens, once for all who do.
 */
export class Watch<T = Json> implements AsyncIterable<T> {
  readonly #feeds: Feeds;
  readonly #active: Map<string, Watch<unknown>>;
  readonly #key: string;
  readonly #feed: Feed;
  readonly #listeners = new Set<(snapshot: Snapshot<T>) => void>();
  #snapshot: Snapshot<T> = LOADING;
  /** True while the server is asked for it. */
  #isFed = false;
  /** The value as a text, to compare it, and the last commit at which it is known to be so. */
  #text: string | undefined;
  #at: number | undefined;

  constructor(feeds: Feeds, active: Map<string, Watch<unknown>>, key: string, params: object) {
    this.#feeds = feeds;
    this.#active = active;
    this.#key = key;
    this.#feed = {
      request: () => ({ method: "watch", params: { ...params, since: this.#at } }),
      // Without `value`, it is unchanged.
      onBegun: (result) => this.#onValue("value" in result ? result.value : (this.#snapshot.value as Json), result.at),
      onNotification: ({ value, at, error, ended, needs }) => {
        if (ended) this.#onEnded(new EndedError(needs as string | undefined));
        else if (error) this.#set({ status: "failed", error: rpcError(error as unknown as RpcError) });
        else if (value !== undefined) this.#onValue(value, at);
      },
      onFailed: (error) => this.#onFailed(error),
      onLost: () => this.#set({ status: this.#text === undefined ? "loading" : "stale", error: undefined }),
      onClosed: (error) => this.#onEnded(error),
    };
  }

  /** Returns how it is now. The same object as before, if nothing has changed. */
  getSnapshot = (): Snapshot<T> => this.#current().#snapshot;

  /** Calls a listener at once, and whenever the snapshot changes. Returns what ends that. */
  subscribe = (listener: (snapshot: Snapshot<T>) => void): (() => void) => {
    const watch = this.#current();
    // The same function may be there twice.
    const own = isolated(listener);
    watch.#listeners.add(own);
    watch.#start();
    own(watch.#snapshot);
    return () => watch.#leave(own);
  };

  /**
   * Yields the value, and each other one; of values that follow each other quickly, only the newest. Throws if the script
   * fails, or if it may not be watched any more.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    let wake = () => {};
    let seen: string | undefined;
    const watch = this.#current();
    const leave = watch.subscribe(() => wake());
    try {
      for (;;) {
        const { status, error, value } = watch.#snapshot;
        if (error && isOwnClose(error)) return;
        if (error) throw error;
        if (status === "live" && watch.#text !== seen) {
          seen = watch.#text;
          yield value as T;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      leave();
    }
  }

  /** Returns the one of this script and these arguments that has listeners. */
  #current(): Watch<T> {
    return (this.#active.get(this.#key) as Watch<T> | undefined) ?? this;
  }

  #start(): void {
    this.#active.set(this.#key, this as Watch<unknown>);
    if (this.#isFed) return;
    this.#isFed = true;
    if (this.#snapshot.status === "ended") this.#set({ status: "loading", error: undefined });
    this.#feeds.add(this.#feed);
  }

  #leave(listener: (snapshot: Snapshot<T>) => void): void {
    this.#listeners.delete(listener);
    // Whoever comes back at once, as components do, finds it still running.
    setTimeout(() => {
      if (this.#listeners.size > 0 || this.#active.get(this.#key) !== this) return;
      this.#active.delete(this.#key);
      this.#isFed = false;
      this.#feeds.remove(this.#feed);
      if (this.#snapshot.status !== "loading") this.#snapshot = { ...this.#snapshot, status: "stale" };
    });
  }

  #onValue(value: Json | undefined, at: Json | undefined): void {
    const text = stringify(value ?? null);
    if (typeof at === "number") this.#at = at;
    const isSame = text === this.#text;
    this.#text = text;
    this.#set({ status: "live", error: undefined, ...(isSame ? {} : { value: value as T, at: this.#at }) });
  }

  #onFailed(error: CircleError): boolean {
    const isOfScript = error instanceof ExecutionError || error instanceof NotFoundError;
    if (isOfScript) this.#set({ status: "failed", error });
    else if (!error.mayPass) this.#onEnded(error);
    return isOfScript || error.mayPass;
  }

  #onEnded(error: Error): void {
    this.#isFed = false;
    this.#feeds.remove(this.#feed);
    this.#set({ status: "ended", error });
  }

  #set(change: Partial<Snapshot<T>>): void {
    const next = { ...this.#snapshot, ...change };
    const { status, value, error } = this.#snapshot;
    if (next.status === status && next.value === value && next.error === error) return;
    this.#snapshot = next;
    for (const listener of [...this.#listeners]) listener(next);
  }
}
