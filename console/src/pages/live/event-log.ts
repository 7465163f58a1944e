/** The events that the page has received: a bounded number, the newest first. */

import type { Circle, CircleEvent, Gap } from "@circled/client";
import { type ReadonlySignal, signal } from "@preact/signals";

/** An event, or a gap: those up to `since` are missing. */
export type Item = CircleEvent | Gap;

/** The most events that are kept. With more, the oldest go. */
export const MOST_EVENTS = 1000;
/** How many earlier events are shown at first. */
const EARLIER = 100;
/** How often what has come is shown, in milliseconds. */
const PAUSE = 50;
/** How long earlier events may take to come before the list counts as empty, in milliseconds. */
const SETTLE = 200;

/** The topics that are received, and the event after which that begins; without `since`, shortly before now. */
export interface Wanted {
  readonly topic: string;
  readonly since?: number | undefined;
}

/** Receives the events of a topic until it is closed. */
export class EventLog {
  readonly #items = signal<readonly Item[]>([]);
  readonly #isPaused = signal(false);
  readonly #waiting = signal(0);
  readonly #dropped = signal(0);
  readonly #error = signal<unknown>(undefined);
  readonly #hasBegun = signal(false);
  readonly #abort = new AbortController();
  /** The events that have come and aren't shown yet, the newest last. */
  #new: Item[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(circle: Circle, wanted: Wanted) {
    this.#receive(circle, wanted).catch((error) => {
      if (!this.#abort.signal.aborted) this.#error.value = error;
    });
  }

  /** The events that are shown, the newest first. */
  get items(): ReadonlySignal<readonly Item[]> {
    return this.#items;
  }

  get isPaused(): ReadonlySignal<boolean> {
    return this.#isPaused;
  }

  /** How many have come while it was paused. */
  get waiting(): ReadonlySignal<number> {
    return this.#waiting;
  }

  /** How many were dropped because there were too many. */
  get dropped(): ReadonlySignal<number> {
    return this.#dropped;
  }

  /** Why nothing comes any more. */
  get error(): ReadonlySignal<unknown> {
    return this.#error;
  }

  /** True once it receives events. */
  get hasBegun(): ReadonlySignal<boolean> {
    return this.#hasBegun;
  }

  /** Shows nothing new for now, or all that has come meanwhile. */
  pause(isPaused: boolean): void {
    this.#isPaused.value = isPaused;
    if (!isPaused) this.#show();
  }

  /** Forgets what is shown. */
  clear(): void {
    this.#items.value = [];
    this.#dropped.value = 0;
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  async #receive(circle: Circle, { topic, since }: Wanted): Promise<void> {
    const { signal } = this.#abort;
    let from = since;
    if (from === undefined) {
      const now = circle.events(topic, { signal });
      from = Math.max(0, (await now.started) - EARLIER);
      await now.return();
    }
    const events = circle.events(topic, { since: from, signal });
    await events.started;
    // If there are earlier ones, they come now.
    setTimeout(() => {
      this.#hasBegun.value = true;
    }, SETTLE);
    for await (const item of events) {
      this.#new.push(item);
      if (this.#new.length > MOST_EVENTS) {
        this.#new.shift();
        this.#dropped.value++;
      }
      if (this.#isPaused.peek()) this.#waiting.value = this.#new.length;
      else this.#timer ??= setTimeout(() => this.#show(), PAUSE);
    }
  }

  #show(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#isPaused.peek()) {
      this.#waiting.value = this.#new.length;
      return;
    }
    const items = [...this.#new.reverse(), ...this.#items.peek()];
    this.#new = [];
    this.#waiting.value = 0;
    this.#dropped.value += Math.max(0, items.length - MOST_EVENTS);
    this.#items.value = items.slice(0, MOST_EVENTS);
  }
}
