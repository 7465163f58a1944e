/** Circles on a test server, and the client's connections to them. */

import type { TestContext } from "node:test";
import { WebSocket } from "ws";
import { type Circle, type ConnectOptions, connect } from "../../dist/index.js";
import { keySigner, SecretKey } from "../../dist/keys.js";
import { TestServer } from "./server.js";

/** One test's server. It is stopped when the test is over. */
export async function serve(t: TestContext, settings: { server?: string; rest?: string } = {}): Promise<TestServer> {
  const server = await TestServer.start(settings);
  t.after(() => server.stop());
  return server;
}

/** A circle of its own. Whoever has its key is the owner. */
export interface TestCircle {
  readonly key: SecretKey;
  /** Returns the circle's URL, on the server or a proxy before it. */
  url(port: number): string;
  /** Connects, as the owner unless told otherwise. It is closed when the test is over. */
  connect(port: number, options?: Partial<ConnectOptions>): Promise<Circle>;
}

export function newCircle(t: TestContext, server: TestServer): TestCircle {
  const key = SecretKey.generate();
  const url = (port: number) => `ws://127.0.0.1:${port}/${key.pubkey}`;
  return {
    key,
    url,
    async connect(port, options = {}) {
      const circle = await connect({
        url: url(port),
        origin: server.origin,
        signer: keySigner(key),
        WebSocket,
        ...options,
      });
      t.after(() => circle.close());
      return circle;
    },
  };
}

/** Returns what a promise fails with. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
}

/** Waits for a connection to be in a phase. */
export function reach(circle: Circle, phase: string): Promise<void> {
  return new Promise((resolve) => {
    let leave = () => {};
    leave = circle.subscribe((connection) => {
      if (connection.phase !== phase) return;
      resolve();
      queueMicrotask(() => leave());
    });
  });
}
