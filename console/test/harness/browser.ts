/** Headless Chromium: profiles whose pages are watched for what must never happen, and looked at. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { SecretKey } from "@circled/client/keys";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { stopAtEnd } from "./end.js";
import type { ConsoleServer } from "./server.js";

const ARGUMENTS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const EXTENSIONS = "build/extensions.js";
/** Where screenshots go. */
const RESULTS = "test-results";
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 390, height: 780 };

/** Starts Chromium: `CHROMIUM`, or the system's. */
export async function startBrowser(): Promise<Browser> {
  const asRoot = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  assert.ok(existsSync(executablePath), `there is no ${executablePath}: .ci/node gets Chromium, or set CHROMIUM`);
  const launching = chromium.launch({ executablePath, args: [...ARGUMENTS, ...asRoot] });
  return await stopAtEnd(launching, (browser) => browser.close());
}

/** A profile of the browser: storage of its own, and what has gone wrong in its pages. */
export class Profile {
  readonly context: BrowserContext;
  readonly #server: ConsoleServer;
  /** Console errors and warnings, violations of the CSP, exceptions, requests that leave the origin. */
  readonly faults: string[] = [];
  /** The texts that the wallet and the Nostr signer were asked to sign. */
  readonly prompts: string[] = [];
  /** While there is one, a prompt is answered only after it. */
  hold: Promise<void> | undefined;
  /** What is expected in the console, because the test causes it: a server that is down, a circle that isn't there. */
  expected: RegExp | undefined;

  private constructor(context: BrowserContext, server: ConsoleServer) {
    this.context = context;
    this.#server = server;
  }

  /** Opens a profile. With `wallet`, it has extensions with this secret key. */
  static async open(browser: Browser, server: ConsoleServer, wallet?: `0x${string}`): Promise<Profile> {
    const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", reducedMotion: "reduce" });
    context.setDefaultTimeout(10_000);
    const profile = new Profile(context, server);
    context.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning")
        profile.#note(`${message.type()}: ${message.text()}`);
    });
    context.on("weberror", (error) => profile.#note(`exception: ${error.error().stack ?? error.error()}`));
    context.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== server.origin && !["data:", "blob:"].includes(protocol))
        profile.#note(`request to ${request.url()}`);
    });
    context.on("page", (page) => {
      page.on("websocket", (socket) => {
        if (new URL(socket.url()).origin !== server.wsOrigin) profile.#note(`socket to ${socket.url()}`);
      });
    });
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        // biome-ignore lint/suspicious/noConsole: so the test learns of it
        console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    if (wallet) {
      await context.exposeFunction("showPrompt", async (text: string) => {
        profile.prompts.push(text);
        await profile.hold;
      });
      await context.addInitScript({ content: `var SECRET_KEY = "${wallet}";${readFileSync(EXTENSIONS, "utf8")}` });
    }
    return profile;
  }

  #note(fault: string): void {
    if (!this.expected?.test(fault)) this.faults.push(fault);
  }

  /** Opens a page of the console: `#/<circle>/<page>`; without a hash, the login. */
  async visit(hash = ""): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(this.#server.console(hash));
    return page;
  }

  /** Logs in to a circle by a key file, as a user would, and goes to one of its pages. `keep`: the browser keeps the key. */
  async logIn(
    circle: string,
    key: SecretKey,
    { at = "overview", keep = false, page = undefined as Page | undefined } = {},
  ): Promise<Page> {
    page ??= await this.context.newPage();
    await page.goto(this.#server.console());
    await page.getByLabel("Circle", { exact: true }).fill(circle);
    if (keep) await page.getByLabel("Keep the key in this browser", { exact: true }).check();
    await page.getByLabel(/^Key file/).setInputFiles({
      name: "my.key",
      mimeType: "application/octet-stream",
      buffer: Buffer.from(`${key.revealHex()}\n`),
    });
    await page.getByText("Connected").waitFor();
    if (at !== "overview") await go(page, `#/${circle}/${at}`);
    return page;
  }

  /** Fails if anything has gone wrong, and closes it. */
  async close(): Promise<void> {
    await this.context.close();
    assert.deepEqual(this.faults, [], "the pages had faults");
  }
}

/** Goes to another address of the console, as a link would. */
export async function go(page: Page, hash: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
}

/**
 * Looks at a page: axe finds nothing, in light and in dark; screenshots are made in light, dark and narrow; it isn't wider than a
 * narrow screen. The name is that of the files: `test-results/<name>-light.png`.
 */
export async function look(page: Page, name: string): Promise<void> {
  mkdirSync(RESULTS, { recursive: true });
  const shoot = async (as: string) => {
    // Other colours are there in the second frame only.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await page.screenshot({ path: `${RESULTS}/${name}-${as}.png` });
  };
  await page.evaluate(AXE.concat(";0"));
  for (const scheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.locator(`html[data-theme=${scheme}]`).waitFor();
    await shoot(scheme);
    // The colours are all that the dark theme changes.
    await findsNothing(page, `${name} in ${scheme}`, scheme === "dark" ? ["color-contrast"] : undefined);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.locator("html[data-theme=light]").waitFor();
  await page.setViewportSize(NARROW);
  await shoot("narrow");
  await findsNothing(page, `${name}, narrow`);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= NARROW.width, `${name} is ${width} pixels wide on a narrow screen`);
  await page.setViewportSize(WIDE);
}

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
}

async function findsNothing(page: Page, where: string, rules?: string[]): Promise<void> {
  const found: Violation[] = await page.evaluate(async (runOnly) => {
    // biome-ignore lint/suspicious/noExplicitAny: axe is put in as a script
    const { violations } = await (globalThis as any).axe.run(document, {
      resultTypes: ["violations"],
      ...(runOnly ? { runOnly } : {}),
    });
    return violations;
  }, rules);
  const faults = found.map(({ id, nodes }) =>
    [id, ...nodes.map((node) => `${node.html} ${node.failureSummary}`)].join(" | "),
  );
  assert.deepEqual(faults, [], `axe finds faults on ${where}`);
}
