/** Headless Chromium, with a wallet and a Nostr signer like those of extensions, and pages to log in from. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium } from "playwright-core";

const ARGUMENTS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts Chromium: `CHROMIUM`, or the system's. */
export async function startBrowser(): Promise<Browser> {
  const asRoot = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  assert.ok(existsSync(executablePath), `there is no ${executablePath}: .ci/node gets Chromium, or set CHROMIUM`);
  return await chromium.launch({ executablePath, args: [...ARGUMENTS, ...asRoot] });
}

/** The prompts that a wallet and a Nostr signer have shown in one profile: the texts to sign. */
export type Prompts = string[];

/** Opens a fresh profile. Its extensions have this secret key, and sign whatever they are asked. */
export async function freshProfile(
  browser: Browser,
  secret: string,
): Promise<{ context: BrowserContext; prompts: Prompts }> {
  const { outputFiles } = await build({
    entryPoints: ["build/harness/extensions.js"],
    bundle: true,
    format: "iife",
    write: false,
    define: { SECRET_KEY: JSON.stringify(secret) },
  });
  const prompts: Prompts = [];
  const context = await browser.newContext();
  await context.exposeFunction("showPrompt", (text: string) => void prompts.push(text));
  await context.addInitScript({ content: outputFiles[0]?.text ?? "" });
  return { context, prompts };
}

const TYPES: Record<string, string> = { ".js": "text/javascript", ".html": "text/html", ".json": "application/json" };

/** A web server with pages, for which the package was installed: its files are in `node_modules`. */
export class PageServer {
  readonly #server: Server;
  readonly #folder = mkdtempSync(join(tmpdir(), "circled-pages-"));
  /** The text of each page, by its path. */
  readonly pages: Record<string, string> = {};

  private constructor() {
    execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", this.#folder], { stdio: "pipe" });
    execFileSync("sh", ["-c", `cd "$0" && tar xzf *.tgz`, this.#folder]);
    this.#server = createServer((request, response) => {
      const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
      const installed = path.replace(/^\/node_modules\/@circled\/client\//, "/package/");
      const text = this.pages[path] ?? (installed === path ? undefined : read(join(this.#folder, installed)));
      response.writeHead(text === undefined ? 404 : 200, { "content-type": TYPES[extname(path)] ?? "text/html" });
      response.end(text);
    });
  }

  static async start(): Promise<PageServer> {
    const started = new PageServer();
    started.#server.listen(0, "127.0.0.1");
    await once(started.#server, "listening");
    return started;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
    rmSync(this.#folder, { recursive: true });
  }
}

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}
