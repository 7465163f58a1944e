/** A circle that is connected to: its methods, its events, its live values. */

import type { Address } from "./address.js";
import { type CallOptions, Calls } from "./calls.js";
import { ClosedError, OWN_CLOSE } from "./errors.js";
import { type EventOptions, Events } from "./events.js";
import { Feeds } from "./feeds.js";
import { type Called, METHODS, type Methods, type Played } from "./generated.js";
import type { Integers, Json } from "./json.js";
import { Link } from "./link.js";
import { isolated } from "./listener.js";
import { LONGEST_TIMER } from "./race.js";
import { randomHex } from "./random.js";
import type { LoginExchange } from "./signer.js";
import type { SocketClass } from "./socket.js";
import type { Phase } from "./state.js";
import { type Query, type Watch, Watches } from "./watch.js";

/** The options of `play` and `call`. */
export interface RunOptions extends CallOptions {
  /** Names the request, so that it happens once however often it is asked. Without it, one is drawn. Needs a signer. */
  readonly requestId?: string | undefined;
  /** Has the result tell what the run has read and changed, for callers who may manage. */
  readonly effects?: boolean | undefined;
}

/** The options of `call`. */
export interface NamedRunOptions extends RunOptions {
  /** The version of the script, for callers who may manage. Without it, the newest. */
  readonly version?: string | undefined;
}

/** A result whose value has the type that the caller knows. */
export type WithValue<R, T> = Omit<R, "value"> & { readonly value: T };

/** How a connection is. It is another object only if something has changed. */
export interface Connection {
  readonly phase: Phase;
  /** Why it is waiting to connect again, or closed. */
  readonly error: Error | undefined;
}

type Camel<S extends string> = S extends `${infer First}_${infer Rest}` ? `${First}${Capitalize<Camel<Rest>>}` : S;
type Arguments<P> = object extends P ? [params?: P, options?: CallOptions] : [params: P, options?: CallOptions];

/** The methods of the server that have no form of their own here, in camel case: `list_jobs` is `listJobs`. */
export type CircleMethods = {
  readonly [M in keyof typeof METHODS as Camel<M>]: (
    ...args: Arguments<Methods[M]["params"]>
  ) => Promise<Methods[M]["result"]>;
};

/** A circle that is connected to, until it is closed. */
export type Circle = Client & CircleMethods;

/** What a client is made of. */
export interface ClientOptions {
  readonly address: Address;
  readonly WebSocket: SocketClass;
  readonly integers: Integers;
  readonly maxInFlight: number;
  readonly loginTimeout: number;
  readonly hasLogin: boolean;
  login(exchange: LoginExchange): Promise<void>;
}

/** True for methods that change nothing, and so can be asked again. */
const READS: { readonly [M in keyof Methods]?: boolean } = { ...METHODS, "rpc.discover": true };

export class Client {
  /** The circle's public key: 66 lowercase hex digits. */
  readonly publicKey: string;
  /** Becomes the reason, once the connection is closed for good. */
  readonly closed: Promise<Error>;
  readonly #link: Link;
  readonly #calls: Calls;
  readonly #feeds: Feeds;
  readonly #watches: Watches;
  readonly #hasLogin: boolean;
  readonly #listeners = new Set<(connection: Connection) => void>();
  #connection: Connection = { phase: "waiting", error: undefined };

  constructor({ address, maxInFlight, hasLogin, ...options }: ClientOptions) {
    let onClosed: (error: Error) => void;
    this.closed = new Promise((resolve) => {
      onClosed = resolve;
    });
    this.publicKey = address.circle;
    this.#hasLogin = hasLogin;
    this.#link = new Link({
      ...options,
      address,
      onReady: () => this.#feeds.onReady(),
      onLost: () => this.#feeds.onLost(),
      onNotification: (params, size) => this.#feeds.onNotification(params, size),
      onState: ({ phase, error }) => {
        if (phase === "closed") {
          this.#feeds.onClosed(error as Error);
          onClosed(error as Error);
        }
        this.#connection = { phase, error };
        for (const listener of [...this.#listeners]) listener(this.#connection);
      },
    });
    this.#calls = new Calls(this.#link, maxInFlight);
    // Those that take long must not keep subscriptions waiting.
    this.#feeds = new Feeds(this.#link, new Calls(this.#link, hasLogin ? 12 : 3));
    this.#watches = new Watches(this.#feeds);
    for (const method of Object.keys(METHODS) as (keyof typeof METHODS)[]) {
      const name = method.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
      const call = (params?: object, options?: CallOptions) => this.request(method, params as never, options);
      Object.assign(this, { [name]: call });
    }
  }

  /** Begins to connect. Returns once it is ready. It is given up after `timeout` milliseconds. */
  async open(timeout: number): Promise<void> {
    const error = new ClosedError("there was no connection in time");
    const timer = setTimeout(() => this.#link.input({ type: "late", error }), Math.min(timeout, LONGEST_TIMER));
    this.#link.input({ type: "due" });
    try {
      await this.#link.ready();
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes the connection. What is under way fails, loops over events end. */
  close(reason: Error = new ClosedError("this client was closed", OWN_CLOSE)): void {
    this.#link.input({ type: "close", error: reason });
  }

  /** Returns how the connection is. The same object as before, if nothing has changed. */
  getSnapshot = (): Connection => this.#connection;

  /** Calls a listener at once with how the connection is, and whenever that changes. Returns what ends that. */
  subscribe = (listener: (connection: Connection) => void): (() => void) => {
    const own = isolated(listener);
    this.#listeners.add(own);
    own(this.#connection);
    return () => void this.#listeners.delete(own);
  };

  /** Runs a source, once. */
  play<T = Json>(script: string, args?: unknown, options?: RunOptions): Promise<WithValue<Played, T>> {
    return this.#run("play", { script, args }, options) as Promise<WithValue<Played, T>>;
  }

  /** Runs a named script of the circle, once. */
  call<T = Json>(name: string, args?: unknown, options?: NamedRunOptions): Promise<WithValue<Called, T>> {
    return this.#run("call", { name, args, version: options?.version }, options) as Promise<WithValue<Called, T>>;
  }

  /** Submits a durable job, once. `idempotency_key` is drawn if there is none. */
  async submitJob(
    params: Methods["submit_job"]["params"],
    options?: CallOptions,
  ): Promise<Methods["submit_job"]["result"]> {
    const key = params.idempotency_key ?? randomHex(16);
    const submitted = (await this.#calls.ask("submit_job", { ...params, idempotency_key: key }, key, options)) as {
      job_id: string;
      duplicate: boolean;
    };
    // Nobody else has that key.
    return params.idempotency_key ? submitted : { ...submitted, duplicate: false };
  }

  /** Receives the events whose topic begins with `topic`; "" is all. */
  events<T = Json>(topic = "", options: EventOptions = {}): Events<T> {
    return new Events(this.#feeds, topic, options);
  }

  /** Watches what a script returns that only reads. Nothing is sent before somebody listens. */
  watch<T = Json>(query: Query, args?: unknown): Watch<T> {
    return this.#watches.get(query, args);
  }

  /** Returns the server's OpenRPC document. */
  discover(options?: CallOptions): Promise<Json> {
    return this.request("rpc.discover", {}, options) as Promise<Json>;
  }

  /** Calls a method by its name in docs/PROTOCOL.md; but for those of a login, because the caller stays the same. */
  request<M extends Exclude<keyof Methods, "fetch_nonce" | "authenticate">>(
    method: M,
    params?: Methods[M]["params"],
    options?: CallOptions,
  ): Promise<Methods[M]["result"]> {
    return this.#calls.ask(method, params ?? {}, READS[method] || undefined, options) as Promise<Methods[M]["result"]>;
  }

  #run(method: string, params: object, options?: RunOptions): Promise<unknown> {
    const id = options?.requestId ?? (this.#hasLogin ? randomHex(16) : undefined);
    return this.#calls.ask(method, { ...params, request_id: id, effects: options?.effects }, id, options, true);
  }
}
