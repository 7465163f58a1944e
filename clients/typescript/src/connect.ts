/** Connects to a circle. */

import { parseAddress } from "./address.js";
import { type Circle, Client } from "./circle.js";
import { OtherCallerError } from "./errors.js";
import type { Integers } from "./json.js";
import { checkServer } from "./prove.js";
import type { Signer } from "./signer.js";
import type { SocketClass } from "./socket.js";

/** The options of `connect`. */
export interface ConnectOptions {
  /** The circle: `wss://circles.example.org/<public key>`. */
  readonly url: string | URL;
  /** Logs in on each connection. Without it, the caller is anonymous, and may do what the circle permits anyone. */
  readonly signer?: Signer | undefined;
  /** The server's own origin, if it is dialled by another name: `wss://circles.example.org`. */
  readonly origin?: string | undefined;
  /** Refuses a server that doesn't prove that it speaks for the circle. A wrong proof is always refused. */
  readonly requireProof?: boolean | undefined;
  /** The class of WebSockets, where there is none, as in Node before 22: that of the package `ws`. */
  readonly WebSocket?: SocketClass | undefined;
  /** How integers past 2^53 come: as a bigint (`auto`, the default), or rounded (`number`). */
  readonly integers?: Integers | undefined;
  /**
   * Calls under way at once; the others wait. By default 48, because `session.max_in_flight` is 64 and subscriptions need a
   * few; 12 without a signer.
   */
  readonly maxInFlight?: number | undefined;
  /** How long it is tried until the first login, in milliseconds: 30,000 by default. A login that has begun may finish. */
  readonly timeout?: number | undefined;
  /** How long each login may take, in milliseconds: 120,000 by default, because a signer may have to ask a person. */
  readonly loginTimeout?: number | undefined;
  /** Closes it, at any time. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects, and logs in. From then on, a lost connection is made again by itself, with waits from 250 ms to 30 s, and at once
 * when the network or the page is back.
 *
 * It fails if the server refuses the login (`InvalidCredentialsError`, `ForbiddenError`), doesn't serve the circle or the page
 * (`RefusedError`), or can't be reached in time (`ClosedError`); if the signer fails, with its error, and if it takes too long,
 * with a `ClosedError`; if it is aborted, with the signal's reason; if the URL is wrong, with a `TypeError`.
 *
 * The caller stays the same: if a later login is somebody else's, the connection is over (`OtherCallerError`).
 */
export async function connect(options: ConnectOptions): Promise<Circle> {
  const { url, origin, signer, requireProof = false, integers = "auto", timeout = 30_000, signal } = options;
  const address = parseAddress(url, origin);
  const WebSocket = options.WebSocket ?? (globalThis.WebSocket as SocketClass | undefined);
  if (!WebSocket) throw new TypeError("there is no WebSocket here: pass the one of the package `ws` as `WebSocket`");
  signal?.throwIfAborted();
  let caller: string | undefined;
  const client = new Client({
    address,
    WebSocket,
    integers,
    maxInFlight: options.maxInFlight ?? (signer ? 48 : 12),
    loginTimeout: options.loginTimeout ?? 120_000,
    hasLogin: signer !== undefined,
    async login(exchange) {
      if (signer || requireProof) await checkServer(exchange, requireProof);
      if (!signer) return;
      await signer.login(exchange);
      // What one caller has asked must not be asked again as another.
      const { pubkey } = await exchange.call<{ pubkey: string }>("whoami");
      caller ??= pubkey;
      if (pubkey !== caller) throw new OtherCallerError(pubkey, caller);
    },
  });
  const onAbort = () => client.close(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  client.closed.then(() => signal?.removeEventListener("abort", onAbort));
  await client.open(timeout);
  return client as Circle;
}
