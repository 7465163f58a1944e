/** A login exchange without a server: what a signer asks for and gives is kept, and answered by the test. */

import type { AuthenticateParams, FetchNonceParams, LoginExchange } from "../../dist/index.js";

export const ORIGIN = "wss://circles.example.org";
export const CIRCLE = `02${"ab".repeat(32)}`;

/** Answers what a signer asks for; by default, nothing is expected. */
export interface Answers {
  nonce?: (params: FetchNonceParams) => string | Promise<string>;
  authenticate?: (params: AuthenticateParams) => void | Promise<void>;
  call?: (method: string, params: object | undefined) => unknown;
}

export function exchange(
  answers: Answers,
  signal = new AbortController().signal,
  isFirst = true,
): LoginExchange & { asked: unknown[][] } {
  const asked: unknown[][] = [];
  return {
    origin: ORIGIN,
    circle: CIRCLE,
    signal,
    isFirst,
    asked,
    async fetchNonce(params) {
      asked.push(["fetch_nonce", params]);
      if (!answers.nonce) throw new Error("fetch_nonce was not expected");
      return await answers.nonce(params);
    },
    async authenticate(params) {
      asked.push(["authenticate", params]);
      await answers.authenticate?.(params);
    },
    async call<T>(method: string, params?: object) {
      asked.push([method, params]);
      if (!answers.call) throw new Error(`${method} was not expected`);
      return (await answers.call(method, params)) as T;
    },
  };
}

/** Returns the login text of a server for a key. */
export function loginText(key: string, circle = CIRCLE): string {
  const rest = `circle: ${circle}\nkey: ${key}\nexpires: 2026-11-23T16:45:00Z\nnonce: ${"01".repeat(32)}`;
  return `circled login v1\norigin: ${ORIGIN}\n${rest}`;
}

/** The error of a server, as the connection throws it. */
export function refused(code: number, reason?: string): Error {
  return Object.assign(new Error("refused"), { code, data: { reason } });
}
