/** The contract between a connection and what signs its login. */

import { parseOrigin } from "./address.js";
import { LoginTextError } from "./errors.js";
import type { Methods } from "./generated.js";

export { LoginTextError };

/** Parameters as a signer gives them. */
type Given<P> = { readonly [K in keyof P]: NonNullable<P[K]> };

/** The parameters of `fetch_nonce`: a key, or an Ethereum address. */
export type FetchNonceParams = Given<Methods["fetch_nonce"]["params"]>;

/** The parameters of `authenticate`. */
export type AuthenticateParams = Given<Methods["authenticate"]["params"]>;

/**
 * What a signer may do with a new connection: fetch the text to sign, and answer it. Its calls fail once the connection is
 * lost or `signal` is aborted, and the same signer is asked again for the next connection.
 */
export interface LoginExchange {
  /** The server's origin, as it must be in the text: the one that was dialled, or the option `origin`. */
  readonly origin: string;
  /** The circle that was dialled: 66 lowercase hex digits. */
  readonly circle: string;
  /** Aborted when the login is of no use any more. A signer that waits for a person gives up then. */
  readonly signal: AbortSignal;
  /** True until the client was ready once. A later login is one that nobody has asked for: better fail than show a prompt. */
  readonly isFirst: boolean;
  fetchNonce(params: FetchNonceParams): Promise<string>;
  authenticate(params: AuthenticateParams): Promise<void>;
  /** Calls another method on the same connection, such as `add_device_key`. */
  call<T>(method: string, params?: object): Promise<T>;
}

/** Proves to the server who the caller is. */
export interface Signer {
  /**
   * Logs in on one connection. It checks the text before it signs: `checkLoginText`. An error that the connection gave is
   * passed on as it is; any other one ends the connection for good, because asking again would not help.
   */
  login(exchange: LoginExchange): Promise<void>;
}

const TEXT =
  /^circled login v1\norigin: ([^\n]+)\ncircle: (0[23][0-9a-f]{64})\nkey: (0[23][0-9a-f]{64})\nexpires: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\nnonce: [0-9a-f]{64}$/;

/**
 * Checks a login text to the letter, before it is signed: it must be for this server, this circle and this key, so that
 * nobody in between can pass on another server's text. Throws a `LoginTextError` otherwise.
 */
export function checkLoginText(
  text: string,
  expected: { readonly origin: string; readonly circle: string; readonly key: string },
): void {
  const [, origin = "", circle, key] = TEXT.exec(text) ?? refuse("it is not a circled login text");
  if (parseOrigin(origin) !== parseOrigin(expected.origin) || parseOrigin(origin) === undefined) {
    refuse(`it is for the server ${origin}, but this connection is to ${expected.origin}`);
  }
  if (circle !== expected.circle) refuse(`it is for the circle ${circle}, which is not the one connected to`);
  if (key !== expected.key) refuse(`it is for the key ${key}, which is not the one that signs`);
}

function refuse(why: string): never {
  throw new LoginTextError(`the login text was not signed: ${why}`);
}
