/** Subscriptions and watches, which begin again on each new connection. */

import type { Calls, Request } from "./calls.js";
import { CircleError, ClosedError, TOO_LARGE } from "./errors.js";
import type { Json } from "./json.js";
import type { Link } from "./link.js";
import { backoff } from "./state.js";

/** Something that the server sends notifications for. */
export interface Feed {
  /** Returns the request that begins it: it resumes after what has come. */
  request(): Request;
  /** It has begun. */
  onBegun(result: Record<string, Json>): void;
  /** There is a notification for it, in a message of so many characters. */
  onNotification(params: Record<string, Json>, size: number): void;
  /** It could not begin. Returns true if it is to be tried again. */
  onFailed(error: CircleError): boolean;
  /** There is no connection now. */
  onLost(): void;
  /** There will be none any more. */
  onClosed(error: Error): void;
}

/** The most notifications that are kept for a name that isn't known yet. With more, the connection is made again. */
const MAX_UNCLAIMED = 1024;

/** How a feed is on the current connection: it is being asked for, has a name, or rests until its time. */
interface Place {
  name?: string;
  isAsked?: boolean;
  timer?: ReturnType<typeof setTimeout>;
  failures: number;
}

export class Feeds {
  readonly #link: Link;
  readonly #calls: Calls;
  readonly #places = new Map<Feed, Place>();
  readonly #names = new Map<string, Feed>();
  /** Those that are being asked for: meanwhile, a notification for an unknown name may be the first of one of them. */
  #asked = new Set<Place>();
  /** Those that are being ended: what still comes for them is for nobody. */
  readonly #ended = new Set<string>();
  readonly #unclaimed = new Map<string, [params: Record<string, Json>, size: number][]>();

  constructor(link: Link, calls: Calls) {
    this.#link = link;
    this.#calls = calls;
  }

  /** Has a feed begin, now and on each new connection. */
  add(feed: Feed): void {
    this.#places.set(feed, { failures: 0 });
    const { phase, error } = this.#link.state;
    if (phase === "closed") this.#close(feed, error as Error);
    else if (phase === "ready") this.#begin(feed);
  }

  /** Ends a feed. */
  remove(feed: Feed): void {
    const place = this.#places.get(feed);
    this.#places.delete(feed);
    if (!place) return;
    clearTimeout(place.timer);
    if (place.name !== undefined) this.#end(place.name);
  }

  onReady(): void {
    for (const feed of [...this.#places.keys()]) this.#begin(feed);
  }

  onLost(): void {
    this.#names.clear();
    this.#unclaimed.clear();
    this.#asked = new Set();
    for (const [feed, place] of this.#places) {
      clearTimeout(place.timer);
      this.#places.set(feed, { failures: place.failures });
      feed.onLost();
    }
  }

  onClosed(error: Error): void {
    for (const feed of [...this.#places.keys()]) this.#close(feed, error);
  }

  onNotification(params: Json, size: number): void {
    const { subscription: name } = (params ?? {}) as Record<string, Json>;
    if (typeof name !== "string") return;
    const feed = this.#names.get(name);
    if (feed) feed.onNotification(params as Record<string, Json>, size);
    else if (this.#asked.size > 0 && !this.#ended.has(name)) {
      const kept = this.#unclaimed.get(name) ?? [];
      this.#unclaimed.set(name, kept);
      if (kept.push([params as Record<string, Json>, size]) <= MAX_UNCLAIMED) return;
      this.#link.input({ type: "lost", error: new ClosedError("too much came for an unknown subscription") });
    }
  }

  #close(feed: Feed, error: Error): void {
    this.remove(feed);
    feed.onClosed(error);
  }

  async #begin(feed: Feed): Promise<void> {
    const place = this.#places.get(feed);
    if (!place || place.isAsked || place.name !== undefined) return;
    place.isAsked = true;
    const isCurrent = () => this.#places.get(feed) === place;
    const asked = this.#asked;
    asked.add(place);
    let name: string | undefined;
    try {
      const result = (await this.#calls.once(() => {
        if (isCurrent()) return feed.request();
        throw new CircleError("given up");
      })) as Record<string, Json>;
      name = String(result.subscription);
      const kept = this.#unclaimed.get(name) ?? [];
      if (!isCurrent()) return this.#end(name);
      place.name = name;
      place.failures = 0;
      this.#names.set(name, feed);
      feed.onBegun(result);
      for (const [params, size] of kept) feed.onNotification(params, size);
    } catch (error) {
      this.#onFailed(feed, place, error as CircleError);
    } finally {
      asked.delete(place);
      if (name !== undefined) this.#unclaimed.delete(name);
      if (this.#asked.size === 0) this.#unclaimed.clear();
    }
  }

  #onFailed(feed: Feed, place: Place, error: CircleError): void {
    if (error instanceof ClosedError) {
      // On a lost connection, it begins with the next one; but not if it is what the connection was lost for.
      if (error.code === TOO_LARGE && this.#places.has(feed)) this.#close(feed, error);
      return;
    }
    if (this.#places.get(feed) !== place) return;
    place.isAsked = false;
    if (!feed.onFailed(error)) {
      this.#places.delete(feed);
      return;
    }
    place.failures++;
    const wait = backoff(place.failures, Math.random(), error.retryAfter);
    place.timer = setTimeout(() => this.#begin(feed), wait);
  }

  #end(name: string): void {
    this.#names.delete(name);
    this.#ended.add(name);
    const ending = this.#calls.once(() => ({ method: "unsubscribe", params: [name] }));
    ending.catch(() => {}).then(() => this.#ended.delete(name));
  }
}
