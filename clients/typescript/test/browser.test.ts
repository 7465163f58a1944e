/** Logins of web pages, in Chromium. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { getPublicKey } from "nostr-tools";
import type { Browser, Page } from "playwright-core";
import { hexToBytes } from "viem";
import { WebSocket } from "ws";
import { type Circle, connect } from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { freshProfile, PageServer, startBrowser } from "./harness/browser.js";
import { eventually, TestServer } from "./harness/server.js";

const PAGE = `<!doctype html>
<output id="visits"></output><output id="status"></output><output id="caller"></output>
<script type="module">
  import { connect } from "/node_modules/@circled/client/dist/index.js";
  import * as signers from "/node_modules/@circled/client/dist/signers.js";
  const { url, by } = Object.fromEntries(new URLSearchParams(location.search));
  const wallet = signers.walletSigner(async () => (await signers.wallets())[0].provider);
  const signer = by === "nostr" ? signers.nostrSigner(window.nostr) : signers.deviceSigner({ inner: wallet });
  try {
    const circle = await connect({ url, signer });
    circle.watch({ script: 'store.get("visits") ?? 0' }).subscribe((watch) => {
      document.querySelector("#visits").value = watch.value;
      document.querySelector("#status").value = watch.status;
    });
    document.querySelector("#caller").value = (await circle.whoami()).pubkey;
  } catch (error) {
    document.querySelector("#status").value = error.message;
  }
</script>`;

const owner = SecretKey.fromHex("11".repeat(32));
let browser: Browser;
let pages: PageServer;
let server: TestServer;
let url: string;
let visitor: Circle;

before(async () => {
  [browser, pages] = await Promise.all([startBrowser(), PageServer.start()]);
  pages.pages["/"] = PAGE;
  server = await TestServer.start({ server: `allowed_origins = ["${pages.origin}"]` });
  url = `${server.origin}/${owner.pubkey}`;
  visitor = await connect({ url, signer: keySigner(owner), WebSocket });
});
after(async () => {
  visitor?.close();
  await Promise.all([browser?.close(), pages?.stop(), server?.stop()]);
});

const address = (by = "wallet"): string => `${pages.origin}/?url=${encodeURIComponent(url)}&by=${by}`;

/** Changes the value, and waits until the page shows it. */
async function isLive(page: Page, patience?: number): Promise<void> {
  const { value } = await visitor.play<number>('store.incr("visits", 1)');
  let status: string | null = null;
  const shows = async () => {
    status = await page.textContent("#status");
    return (await page.textContent("#visits")) === String(value) && status === "live";
  };
  await eventually(`the value ${value}`, shows, patience).catch((error) => {
    throw new Error(`the page's status is ${JSON.stringify(status)}`, { cause: error });
  });
}

test("a Nostr extension logs a page in", async () => {
  const secret = `0x${"c4".repeat(32)}` as const;
  const { context, prompts } = await freshProfile(browser, secret);
  const page = await context.newPage();
  await page.goto(address("nostr"));
  await isLive(page);
  assert.equal(await page.textContent("#caller"), `02${getPublicKey(hexToBytes(secret))}`);
  assert.equal(prompts.length, 1);
  await context.close();
});

test("a page that the server doesn't allow is refused, without a prompt", async () => {
  const { context, prompts } = await freshProfile(browser, `0x${"c5".repeat(32)}`);
  const page = await context.newPage();
  await page.goto(address().replace("127.0.0.1", "localhost"));
  const status = page.locator("#status", { hasText: /./ });
  assert.match((await status.textContent()) ?? "", /may not connect here/);
  assert.equal(prompts.length, 0);
  await context.close();
});

test("a circle that doesn't exist is told to the page, without a prompt", async () => {
  const { context, prompts } = await freshProfile(browser, `0x${"c6".repeat(32)}`);
  const page = await context.newPage();
  await page.goto(address().replace(owner.pubkey, `02${"f".repeat(64)}`));
  const status = page.locator("#status", { hasText: /./ });
  assert.match((await status.textContent()) ?? "", /not a secp256k1 public key/);
  assert.equal(prompts.length, 0);
  await context.close();
});

test("a page without a bundler loads the check of a server's proof", async () => {
  const page = await browser.newPage();
  await page.goto(`${pages.origin}/node_modules/@circled/client/package.json`);
  const fault = await page.evaluate(async (path) => {
    const { findFault } = await import(path);
    const grant = { server: "", origin: "", expires: "", signature: "" };
    return await findFault({ grant, signature: "" }, { origin: "", circle: "", challenge: "", now: 0 });
  }, `${pages.origin}/node_modules/@circled/client/dist/proof.js`);
  assert.match(fault, /not signed by the circle's key/);
  await page.close();
});
