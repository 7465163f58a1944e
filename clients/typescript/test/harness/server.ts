/** The real server, on a port and with data of its own, which can be killed and come back. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** The time that anything may take that isn't expected to take long. */
export const PATIENCE = 10_000;

/** Returns what `ask` finds, once that is something. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  patience = PATIENCE,
): Promise<NonNullable<T>> {
  const end = Date.now() + patience;
  for (;;) {
    const found = await ask();
    if (found) return found;
    assert.ok(Date.now() < end, `waited ${patience} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Returns a port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Returns the server's program: `CIRCLED_TEST_BINARY`, or the one that the tests in Rust have built. */
export function binary(): string {
  return resolve(process.env.CIRCLED_TEST_BINARY ?? "../../target/debug/circled");
}

/** Returns this environment, without what `circled` would take for its settings. */
export function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CIRCLED_")));
}

/** A running server. */
export class TestServer {
  readonly #folder: string;
  readonly port: number;
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
  }

  /** Starts a server. `server` is for its table of the same name: `allowed_origins = [...]`; `rest`, for all others. */
  static async start({ server = "", rest = "" } = {}): Promise<TestServer> {
    const started = new TestServer(mkdtempSync(join(tmpdir(), "circled-")), await freePort());
    const data = join(started.#folder, "data");
    const listen = `listen = "127.0.0.1:${started.port}"\nadmin_listen = ""`;
    const toml = `[server]\n${listen}\n${server}\n[dispatch.embedded]\ndata_dir = ${JSON.stringify(data)}\n${rest}\n`;
    writeFileSync(join(started.#folder, "circled.toml"), toml);
    await started.restart();
    return started;
  }

  get origin(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** Starts it again, with its port and data. Returns once it takes connections. */
  async restart(): Promise<void> {
    const args = ["serve", "--config", join(this.#folder, "circled.toml")];
    const child = spawn(binary(), args, { stdio: "pipe", env: environment() });
    this.#child = child;
    let log = "";
    let hasEnded = false;
    for (const output of [child.stdout, child.stderr]) {
      output.on("data", (text) => {
        log += text;
      });
    }
    child.on("error", (error) => {
      log += error.message;
    });
    child.on("close", () => {
      hasEnded = true;
    });
    await eventually("the server", async () => {
      assert.ok(!hasEnded, `the server has ended:\n${log}`);
      return await answers(this.port);
    });
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Ends it, and removes its data. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("close", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
