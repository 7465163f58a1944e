/** A connection that is made again whenever it is lost: does what the state machine says. */

import type { Address } from "./address.js";
import { CircleError, ClosedError, type RpcError, rpcError, TOO_LARGE } from "./errors.js";
import { Heartbeat } from "./heartbeat.js";
import { type Integers, type Json, parse, stringify } from "./json.js";
import { LATE, race } from "./race.js";
import type { LoginExchange } from "./signer.js";
import { dial, type Socket, type SocketClass } from "./socket.js";
import { type Effect, type Input, START, type State, step } from "./state.js";

/** How long the server has to answer one request of a login, in milliseconds. */
const LOGIN_TIMEOUT = 10_000;
/** An attempt of this age is given up when the network is back: it may have begun without one. In milliseconds. */
const OLD = 2000;
/** The close code of a login that took too long. */
const POLICY = 1008;

/** What a link needs to know, and whom it tells. */
export interface LinkOptions {
  readonly address: Address;
  readonly WebSocket: SocketClass;
  readonly integers: Integers;
  /** How long a login may take, in milliseconds. */
  readonly loginTimeout: number;
  /** Logs in on a new connection. */
  login(exchange: LoginExchange): Promise<void>;
  /** A connection can take calls. */
  onReady(): void;
  /** It is lost. */
  onLost(): void;
  /** The state is another one. */
  onState(state: State): void;
  /** The server has sent a notification, in a message of so many characters. */
  onNotification(params: Json, size: number): void;
}

interface Pending {
  readonly size: number;
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #heartbeat = new Heartbeat();
  #state: State = START;
  #socket: Socket | undefined;
  /** When the last attempt began. */
  #dialled = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Aborted when the login on this connection is of no use any more. */
  #login = new AbortController();
  readonly #pending = new Map<number, Pending>();
  #next = 1;
  /** Those who wait for a connection. */
  readonly #waiting = new Set<() => void>();
  readonly #unlisten: () => void;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#unlisten = listen(() => this.input({ type: "wake" }));
  }

  get state(): State {
    return this.#state;
  }

  /**
   * Returns once calls can be sent, in the order in which it was asked. Fails once there will be no connection any more; with
   * the signal's reason; or with `LATE`.
   */
  async ready(signal?: AbortSignal, until?: number): Promise<void> {
    while (this.#state.phase !== "ready") {
      if (this.#state.phase === "closed") throw this.#state.error;
      let wake = () => {};
      const changed = new Promise<void>((resolve) => {
        wake = resolve;
        this.#waiting.add(wake);
      });
      await race(changed, signal, until).finally(() => this.#waiting.delete(wake));
    }
  }

  /** Feeds the state machine. */
  input(input: Input): void {
    const { state, effects } = step(this.#state, input, Math.random());
    if (state === this.#state) return;
    const hasChanged = state.phase !== this.#state.phase;
    this.#state = state;
    for (const effect of effects) this.#do(effect);
    if (hasChanged) this.#options.onState(state);
  }

  /** Sends a request on the connection that there is now. Fails if that is lost before the reply. */
  request(method: string, params?: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.#socket) throw new ClosedError("there is no connection");
      const id = this.#next++;
      const text = stringify({ jsonrpc: "2.0", id, method, params });
      this.#socket.send(text);
      this.#pending.set(id, { size: text.length, resolve, reject });
    });
  }

  #do(effect: Effect): void {
    if (typeof effect === "object") {
      this.#timer = setTimeout(() => this.input({ type: "due" }), effect.wait);
      return;
    }
    switch (effect) {
      case "dial":
        clearTimeout(this.#timer);
        this.#dial();
        break;
      case "login":
        this.#logIn();
        break;
      case "ready":
        this.#options.onReady();
        for (const wake of this.#waiting) wake();
        break;
      case "check":
        this.#heartbeat.check();
        break;
      case "redial":
        if (performance.now() - this.#dialled < OLD) break;
        this.#socket?.drop();
        this.#dial();
        break;
      case "drop":
        this.#drop(this.#state.error as Error);
        break;
      case "end":
        clearTimeout(this.#timer);
        this.#unlisten();
        for (const wake of this.#waiting) wake();
    }
  }

  #dial(): void {
    this.#dialled = performance.now();
    const { address, WebSocket } = this.#options;
    try {
      this.#socket = dial(address.url, WebSocket, {
        onOpen: () => this.input({ type: "opened" }),
        onText: (text) => this.#onText(text),
        onEnd: (error) => this.#onEnd(error),
      });
    } catch (error) {
      // A browser throws for `ws://` in a page of `https://`.
      this.input({ type: "refused", error: error as Error });
    }
  }

  #logIn(): void {
    const socket = this.#socket;
    const login = new AbortController();
    this.#login = login;
    this.#heartbeat.start({
      ask: () => void this.request("unsubscribe", [""]).catch(() => {}),
      unsent: () => socket?.unsent ?? 0,
      isOwed: () => this.#state.phase === "ready" && this.#pending.size > 0,
      onSilent: () => this.#lose(new ClosedError("the server is silent")),
    });
    const ask = async (method: string, params?: object) => {
      login.signal.throwIfAborted();
      return race(this.request(method, params), undefined, performance.now() + LOGIN_TIMEOUT).catch((error) => {
        throw error === LATE ? new ClosedError(`the server did not answer ${method} in time`) : error;
      });
    };
    const { origin, circle } = this.#options.address;
    const exchange: LoginExchange = {
      origin,
      circle,
      signal: login.signal,
      isFirst: !this.#state.wasReady,
      fetchNonce: (params) => ask("fetch_nonce", params) as Promise<string>,
      authenticate: (params) => ask("authenticate", params) as Promise<void>,
      call: <T>(method: string, params?: object) => ask(method, params) as Promise<T>,
    };
    race(this.#options.login(exchange), login.signal, performance.now() + this.#options.loginTimeout).then(
      () => login.signal.aborted || this.input({ type: "loggedIn" }),
      (error) => {
        if (login.signal.aborted) return;
        if (error instanceof CircleError && error.mayPass) this.#lose(error);
        else
          this.input({ type: "refused", error: error === LATE ? new ClosedError("the login took too long") : error });
      },
    );
  }

  #onText(text: string): void {
    this.#heartbeat.heard();
    let message: { id?: unknown; result?: unknown; error?: unknown; method?: unknown; params?: Json };
    try {
      message = parse(text, this.#options.integers) as typeof message;
    } catch {
      // What it was the reply to would wait for ever.
      this.#lose(new ClosedError("the server sent no JSON"));
      return;
    }
    this.input({ type: "heard" });
    const { id, method, error } = message;
    if (typeof method === "string") {
      this.#options.onNotification(message.params ?? null, text.length);
      return;
    }
    const pending = this.#pending.get(id as number);
    this.#pending.delete(id as number);
    if (error) pending?.reject(rpcError(error as RpcError));
    else pending?.resolve(message.result ?? null);
  }

  #onEnd(error: CircleError): void {
    // The server has ended the session for good: the device key was removed, or the circle isn't served any more. Or the
    // signer has let it wait for too long, and would be asked again and again.
    const { phase } = this.#state;
    const isOver = phase === "ready" || (phase === "login" && this.#pending.size === 0);
    if (!error.mayPass || (isOver && (error as ClosedError).code === POLICY)) {
      this.input({ type: "refused", error });
    } else this.#lose(error);
  }

  #lose(error: CircleError): void {
    this.input({ type: "lost", error });
  }

  #drop(error: Error): void {
    this.#heartbeat.stop();
    this.#socket?.drop();
    this.#socket = undefined;
    this.#login.abort(error);
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    // The largest message was the one that is too large; the others may be sent again.
    const isTooLarge = (error as ClosedError).code === TOO_LARGE;
    const largest = Math.max(...pending.map(({ size }) => size));
    for (const { size, reject } of pending) {
      reject(isTooLarge && size < largest ? new ClosedError(error.message) : error);
    }
    this.#options.onLost();
  }
}

/** Calls `wake` when the page or the network is back. Returns what ends that. */
function listen(wake: () => void): () => void {
  const { addEventListener } = globalThis as Partial<typeof globalThis>;
  const end = new AbortController();
  // The last one comes also when the page is left, and does no harm then.
  for (const type of ["online", "pageshow", "visibilitychange"]) addEventListener?.(type, wake, { signal: end.signal });
  return () => end.abort();
}
