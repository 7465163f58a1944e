/** The events of a circle, as an async iterable: each once, in order, across lost connections. */

import { EndedError, isOwnClose } from "./errors.js";
import type { Feed, Feeds } from "./feeds.js";
import type { Json } from "./json.js";

/** An event: a script has sent it with `emit`. */
export interface CircleEvent<T = Json> {
  /** The number of the event in its circle. Some numbers are missing, because some events are for others. */
  readonly id: number;
  readonly topic: string;
  readonly data: T;
  /** When it was committed, RFC 3339. */
  readonly at: string;
}

/** Events are missing, because the server's log no longer has them. The next event is the first one after `since`. */
export interface Gap {
  readonly gap: true;
  readonly since: number;
}

/** The options of `events`. */
export interface EventOptions {
  /** Begins after the event with this id; 0: with the oldest one that the server has. Without it: from now on. */
  readonly since?: number | undefined;
  /** Ends the loop, without an error. */
  readonly signal?: AbortSignal | undefined;
}

/** The most events that are kept for a loop that is slower than they come, and the most characters of their messages. */
const MAX_EVENTS = 1024;
const MAX_SIZE = 4 << 20;

/**
 * Events that are being received. Leave the loop (`break`), abort the signal or call `return` to end it.
 *
 * A loop that is slow has up to 1,024 events (4 MiB) kept for it. If more come, it is unsubscribed; once it has taken what was
 * kept, it is subscribed again and gets the others from the server's log. So nothing is lost, as long as the log reaches back.
 */
export class Events<T = Json> implements AsyncIterableIterator<CircleEvent<T> | Gap> {
  readonly #feeds: Feeds;
  readonly #feed: Feed;
  readonly #kept: { readonly item: CircleEvent<T> | Gap; readonly size: number }[] = [];
  #size = 0;
  /** The last event that is kept or was taken, or the one after which the first comes. */
  #since: number | undefined;
  #isFull = false;
  #end: { readonly error?: Error | undefined } | undefined;
  /** Wakes those who wait in `next`. */
  #wake: (() => void) | undefined;
  #begun: ((since: number) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  readonly #unlisten: () => void;
  /** The id after which the events come: known once the subscription has begun, so what happens from then on is seen. */
  readonly started: Promise<number>;

  constructor(feeds: Feeds, topic: string, { since, signal }: EventOptions) {
    this.#feeds = feeds;
    this.#since = since;
    this.started = new Promise((resolve, reject) => {
      this.#begun = resolve;
      this.#failed = reject;
    });
    this.started.catch(() => {});
    this.#feed = {
      request: () => ({ method: "subscribe", params: { topic, since: this.#since } }),
      onBegun: (result) => {
        this.#since ??= Number(result.since);
        this.#begun?.(this.#since);
      },
      onNotification: (params, size) => this.#onNotification(params, size),
      onFailed: (error) => error.mayPass || this.#close(error),
      onLost: () => {},
      onClosed: (error) => void this.#close(isOwnClose(error) ? undefined : error),
    };
    const onAbort = () => void this.return();
    this.#unlisten = () => signal?.removeEventListener("abort", onAbort);
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) this.#close();
    else feeds.add(this.#feed);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<CircleEvent<T> | Gap, undefined>> {
    for (;;) {
      const first = this.#kept.shift();
      if (first) {
        this.#size -= first.size;
        return { done: false, value: first.item };
      }
      if (this.#end) {
        const { error } = this.#end;
        this.#end = {};
        if (error) throw error;
        return { done: true, value: undefined };
      }
      if (this.#isFull) {
        this.#isFull = false;
        this.#feeds.add(this.#feed);
      }
      await new Promise<void>((resolve) => {
        const others = this.#wake;
        this.#wake = () => {
          others?.();
          resolve();
        };
      });
    }
  }

  /** Ends it: nothing is received any more. */
  async return(): Promise<IteratorResult<CircleEvent<T> | Gap, undefined>> {
    this.#kept.length = 0;
    this.#size = 0;
    this.#close();
    return { done: true, value: undefined };
  }

  #onNotification(params: Record<string, Json>, size: number): void {
    const { id, topic, data, at, gap, since, ended, needs } = params;
    if (ended) this.#close(new EndedError(needs as string | undefined));
    else if (gap) {
      // If the log is older than the events that were seen, this goes back.
      this.#since = Number(since);
      this.#keep({ gap, since: this.#since } as Gap, size);
    } else if (typeof id === "number" && id > (this.#since ?? 0)) {
      this.#since = id;
      this.#keep({ id, topic, data, at } as unknown as CircleEvent<T>, size);
    }
  }

  #keep(item: CircleEvent<T> | Gap, size: number): void {
    if (this.#isFull || this.#end) return;
    this.#kept.push({ item, size });
    this.#size += size;
    this.#awake();
    if (this.#kept.length < MAX_EVENTS && this.#size < MAX_SIZE) return;
    this.#isFull = true;
    this.#feeds.remove(this.#feed);
  }

  /** Ends it, the first time. What is kept can still be taken. */
  #close(error?: Error): false {
    if (this.#end) return false;
    this.#end = { error };
    this.#unlisten();
    this.#failed?.(error ?? new EndedError());
    this.#feeds.remove(this.#feed);
    this.#awake();
    return false;
  }

  #awake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
