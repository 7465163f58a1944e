/**
 * Requests that outlive their connections, with the rules of the Rust client.
 *
 * - A request waits for its turn, first in, first out, and for a connection.
 * - If its reply is lost (the connection breaks, or the server is stopping), it is asked again if that can't do anything
 *   twice: a `play` or `call` with a `request_id`, and what only reads. Everything else fails with `UnansweredError`.
 * - -32005 with `retry_after_ms` says that nothing has happened and that waiting helps: it is asked again after that time.
 * - It is asked again until its `timeout` is over; without one, until a minute after the first failure.
 */

import { CircleError, ClosedError, InvalidParamsError, RpcError, TOO_LARGE, UnansweredError } from "./errors.js";
import type { Link } from "./link.js";
import { LATE, race } from "./race.js";
import { backoff } from "./state.js";

/** A request. */
export interface Request {
  readonly method: string;
  readonly params: unknown;
}

/** The options of every request. */
export interface CallOptions {
  /** Gives up: the promise fails with the signal's reason. The server may go on with what it has begun. */
  readonly signal?: AbortSignal | undefined;
  /** The time for all of it, in milliseconds: waiting, running, and asking again. */
  readonly timeout?: number | undefined;
}

/** How a request may be repeated: as it only reads (`true`); by its id; or not at all. */
export type Repeat = true | string | undefined;

/** How long a request without a time limit is asked again, in milliseconds. */
const DEADLINE = 60_000;
/** How much later than the server the client gives up, so that the server's own answer counts, in milliseconds. */
const GRACE = 1000;
/** The requests that may wait. One more fails at once. */
const MAX_WAITING = 10_000;
const UNAVAILABLE = -32007;
const CANCELLED = -32008;
const LIMIT_EXCEEDED = -32005;
/**
 * Execution Error, Not Found, Invalid params: the run that it has now shows that there was none before; or there was one, as
 * a `ReplyDroppedError` says.
 */
const OF_RUNS = new Set([-32000, -32006, -32602]);

export class Calls {
  readonly #link: Link;
  #free: number;
  readonly #waiting: (() => void)[] = [];
  /** The most that the server takes as `timeout_ms`, once it has said so; 0: it takes none. */
  #mostTimeout = Number.POSITIVE_INFINITY;

  /** At most so many requests are under way. */
  constructor(link: Link, most: number) {
    this.#link = link;
    this.#free = most;
  }

  /** Sends a request, made when it is its turn, on the connection that there is then, and never again. */
  async once(make: () => Request): Promise<unknown> {
    await this.#turn();
    try {
      const { method, params } = make();
      return await this.#link.request(method, params);
    } finally {
      this.#leave();
    }
  }

  /** Sends a request until it is answered, or its time is over. `runs` says that it takes a `timeout_ms`. */
  async ask(method: string, params: object, repeat: Repeat, options: CallOptions = {}, runs = false): Promise<unknown> {
    const { signal, timeout } = options;
    const end = timeout === undefined ? undefined : performance.now() + timeout;
    let until = end;
    let mayBeDone = false;
    let last: Error = new ClosedError("there was no connection in time");
    const fail = (error: Error) => (mayBeDone ? new UnansweredError(error, repeat as string | undefined) : error);
    const inTime = (promise: Promise<void>) =>
      race(promise, signal, until).catch((error) => {
        throw error === LATE ? fail(last) : error;
      });
    for (let failures = 1; ; failures++) {
      const turn = this.#turn();
      await inTime(turn).catch((error) => {
        turn.then(
          () => this.#leave(),
          () => {},
        );
        throw error;
      });
      let reply: Promise<unknown> | undefined;
      try {
        await this.#link.ready(signal, until ?? performance.now() + DEADLINE);
        reply = this.#link.request(method, runs ? this.#limited(params, end) : params);
        return await race(reply, signal, end && end + (runs ? GRACE : 0));
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (!reply) throw fail(error === LATE ? last : (error as Error));
        last = error === LATE ? new ClosedError("the server did not answer in time") : (error as Error);
      } finally {
        // Until the reply has come, the server is at it.
        if (reply) reply.catch(() => {}).then(() => this.#leave());
        else this.#leave();
      }
      if (runs && this.#learns(last)) continue;
      const isNothing = last instanceof RpcError && last.code === LIMIT_EXCEEDED && last.retryAfter > 0;
      const isLost = isLoss(last);
      if (isLost && repeat !== true) mayBeDone = true;
      if (mayBeDone) {
        if (last instanceof RpcError && OF_RUNS.has(last.code)) throw last;
        if (!repeat || !(last as CircleError).mayPass) throw fail(last);
      } else if (!isLost && !isNothing) throw last;
      until ??= performance.now() + DEADLINE;
      const pause = backoff(failures, Math.random(), (last as CircleError).retryAfter);
      await inTime(new Promise((resolve) => setTimeout(resolve, pause)));
    }
  }

  #turn(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    if (this.#waiting.length >= MAX_WAITING) return Promise.reject(new CircleError("too many requests wait already"));
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }

  /** Adds the time that is left, as far as the server takes it. */
  #limited(params: object, until: number | undefined): object {
    if (until === undefined || this.#mostTimeout === 0) return params;
    const left = Math.max(1, Math.ceil(until - performance.now()));
    return { ...params, timeout_ms: Math.min(left, this.#mostTimeout) };
  }

  /** Returns true if the server has refused a `timeout_ms` that is longer than its own limit, which it names. */
  #learns(error: Error): boolean {
    const reason = error instanceof InvalidParamsError ? String(error.data?.reason) : "";
    if (!reason.includes("`timeout_ms`") || this.#mostTimeout === 0) return false;
    const most = Number(/to (\d+)$/.exec(reason)?.[1]);
    this.#mostTimeout = most < this.#mostTimeout ? most : 0;
    return true;
  }
}

/** Returns whether a request with this error may have happened, or might if it is sent again. */
function isLoss(error: Error): boolean {
  if (error instanceof ClosedError) return error.code !== TOO_LARGE;
  return error instanceof RpcError && (error.code === UNAVAILABLE || error.code === CANCELLED);
}
