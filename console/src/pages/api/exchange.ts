/** A call of a method over the session, with the frames that went and came back. */

import type { Circle, Json } from "@circled/client";
import { parse, stringify } from "@circled/client/json";
import { type ReadonlySignal, signal } from "@preact/signals";
import { listenToWire } from "../../session.js";

/** The state of a call. */
export interface Call {
  readonly sent: string | undefined;
  readonly received: string | undefined;
  /** The error of a call that got no reply of the server. */
  readonly error: unknown;
  /** How long it took, in milliseconds; undefined while it is under way. */
  readonly took: number | undefined;
  /** The frames that came for the subscription that it has begun, the newest first. */
  readonly notifications: readonly string[];
  readonly subscription: string | undefined;
}

/** The most notifications that are kept. */
const MOST_NOTIFICATIONS = 50;

type Message = { [name: string]: Json };

/** A call. It listens until it is closed, if it has begun a subscription. */
export class Exchange {
  readonly #circle: Circle;
  readonly #call = signal<Call>({
    sent: undefined,
    received: undefined,
    error: undefined,
    took: undefined,
    notifications: [],
    subscription: undefined,
  });
  readonly #unlisten: () => void;
  #id: Json | undefined;
  #isClosed = false;

  constructor(circle: Circle, method: string, params: { [name: string]: Json }) {
    this.#circle = circle;
    const expected = stringify(params);
    const begun = performance.now();
    const unlisten = listenToWire((way, text) => {
      if (way === "sent" && text.includes(`"${method}"`)) {
        const message = parse(text) as Message;
        if (message.method !== method || stringify(message.params ?? {}) !== expected || this.#call.peek().received)
          return;
        this.#id = message.id;
        this.#set({ sent: text });
      } else if (way === "received") this.#onText(text);
    });
    // A subscription ends with its connection.
    const unfollow = circle.subscribe(({ phase }) => {
      if (phase !== "ready" && this.#call.peek().subscription) this.#set({ subscription: undefined });
    });
    this.#unlisten = () => {
      unlisten();
      unfollow();
    };
    const request = circle.request as (method: string, params: unknown) => Promise<unknown>;
    request
      .call(circle, method, params)
      .then(
        (result) => this.#isClosed && this.#unsubscribe(subscriptionOf(result)),
        (error) => {
          if (!this.#call.peek().received) this.#set({ error });
        },
      )
      .then(() => {
        this.#set({ took: performance.now() - begun });
        if (!this.#call.peek().subscription) this.#unlisten();
      });
  }

  get call(): ReadonlySignal<Call> {
    return this.#call;
  }

  /** Ends the subscription that it has begun, or begins with a reply that is still to come. */
  close(): void {
    this.#isClosed = true;
    this.#unlisten();
    const { subscription } = this.#call.peek();
    this.#set({ subscription: undefined });
    this.#unsubscribe(subscription);
  }

  #unsubscribe(subscription: string | undefined): void {
    if (subscription !== undefined) this.#circle.request("unsubscribe", { subscription }).catch(() => {});
  }

  #onText(text: string): void {
    const { received, subscription, notifications } = this.#call.peek();
    if (received === undefined && this.#id !== undefined && text.includes('"id"')) {
      const { id, result } = parse(text) as Message;
      if (id !== this.#id) return;
      this.#set({ received: text, subscription: subscriptionOf(result) });
    } else if (subscription !== undefined && text.includes('"subscription"')) {
      const { params } = parse(text) as Message;
      if ((params as Message | null)?.subscription !== subscription) return;
      this.#set({ notifications: [text, ...notifications].slice(0, MOST_NOTIFICATIONS) });
    }
  }

  #set(change: Partial<Call>): void {
    this.#call.value = { ...this.#call.peek(), ...change };
  }
}

/** Returns the subscription that a result has begun, if it has. */
function subscriptionOf(result: unknown): string | undefined {
  const begun = (result as Message | null | undefined)?.subscription;
  return typeof begun === "string" ? begun : undefined;
}
