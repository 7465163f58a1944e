/** The real server, on a port and with data of its own, with the console before it; it can be killed and come back. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Circle, connect as connectTo, type Signer } from "@circled/client";
import { keySigner, type SecretKey } from "@circled/client/keys";
import { WebSocket } from "ws";
import { startProxy } from "./dev.mjs";
import { stopAtEnd } from "./end.js";

/** The time that anything may take that isn't expected to take long. */
export const PATIENCE = 10_000;
/** The secret of the provider `stripe`. */
export const STRIPE_SECRET = "whsec_test";

/** Returns what `ask` finds, once that is something. */
export async function eventually<T>(what: string, ask: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await ask();
    if (found) return found;
    assert.ok(Date.now() < end, `waited ${PATIENCE} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Returns a port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Returns the server's program. */
function binary(): string {
  const path = resolve(process.env.CIRCLED_TEST_BINARY ?? "../target/debug/circled");
  assert.ok(existsSync(path), `there is no ${path}: set CIRCLED_TEST_BINARY`);
  return path;
}

export interface ServerOptions {
  /** The path below which a proxy serves all: `/some/prefix`. */
  readonly prefix?: string;
  /** Lines for the settings: tables other than `[server]`, such as `[circles]`. */
  readonly settings?: string;
}

/** The servers that run. They don't outlive the tests, whatever ends those. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A running server. */
export class ConsoleServer {
  readonly #folder = mkdtempSync(join(tmpdir(), "circled-console-"));
  readonly #serverPort: number;
  readonly #port: number;
  readonly #prefix: string;
  #proxy: Server | undefined;
  #child: ChildProcess | undefined;
  readonly #clients = new Set<Circle>();

  private constructor(port: number, serverPort: number, prefix: string) {
    this.#port = port;
    this.#serverPort = serverPort;
    this.#prefix = prefix;
  }

  static async start(options: ServerOptions = {}): Promise<ConsoleServer> {
    return await stopAtEnd(ConsoleServer.#start(options), (server) => server.stop());
  }

  static async #start({ prefix = "", settings = "" }: ServerOptions): Promise<ConsoleServer> {
    const started = new ConsoleServer(await freePort(), await freePort(), prefix);
    const server = [
      "[server]",
      `listen = "127.0.0.1:${started.#serverPort}"`,
      `admin_listen = ""`,
      `public_url = "${started.wsOrigin}"`,
      "[dispatch.embedded]",
      `data_dir = ${JSON.stringify(join(started.#folder, "data"))}`,
    ];
    writeFileSync(join(started.#folder, "circled.toml"), `${server.join("\n")}\n${settings}\n`);
    started.#proxy = await startProxy({ port: started.#port, target: started.#serverPort, prefix });
    try {
      await started.restart();
    } catch (error) {
      // Otherwise, the proxy would keep the test from ending.
      await started.stop();
      throw error;
    }
    return started;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get wsOrigin(): string {
    return `ws://127.0.0.1:${this.#port}`;
  }

  /** The address of the console, with a hash if one is given. */
  console(hash = ""): string {
    return `${this.origin}${this.#prefix}/console/${hash}`;
  }

  /** The address to which a provider sends webhooks. */
  webhooks(provider: string, circle: string): string {
    return `${this.origin}${this.#prefix}/webhooks/${provider}/${circle}`;
  }

  /** Connects as a program would: by a key, or another signer. It is closed with the server. */
  async connect(circle: string, as: SecretKey | Signer): Promise<Circle> {
    const signer = "login" in as ? as : keySigner(as);
    const client = await connectTo({ url: `${this.wsOrigin}${this.#prefix}/${circle}`, signer, WebSocket });
    this.#clients.add(client);
    return client;
  }

  /** Starts it again, with its port and data. */
  async restart(): Promise<void> {
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith("CIRCLED_"));
    const env = { ...Object.fromEntries(own), STRIPE_WEBHOOK_SECRET: STRIPE_SECRET };
    const args = ["serve", "--config", join(this.#folder, "circled.toml")];
    const child = spawn(binary(), args, { stdio: ["ignore", "pipe", "pipe"], env });
    this.#child = child;
    running.add(child);
    child.on("exit", () => running.delete(child));
    let log = "";
    for (const output of [child.stdout, child.stderr]) {
      output.on("data", (text) => {
        log += text;
      });
    }
    await eventually("the server", async () => {
      assert.equal(child.exitCode, null, `the server has ended:\n${log}`);
      return await answers(this.#serverPort);
    });
    if (process.env.CONSOLE_EMBEDDED) {
      const { status } = await fetch(`http://127.0.0.1:${this.#serverPort}/console/`);
      assert.equal(status, 200, `${binary()} has no console: run \`make console\` before it is built`);
    }
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Ends it, and removes its data. The end of the test file does so, too. */
  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.kill();
    this.#proxy?.closeAllConnections();
    this.#proxy?.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => resolve(false));
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}
