/** Logins of web pages, in Chromium. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SigningKey } from "ethers";
import { getPublicKey } from "nostr-tools";
import type { Browser, Page } from "playwright-core";
import { hexToBytes } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { WebSocket } from "ws";
import { type Circle, connect } from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { walletSigner } from "../dist/signers.js";
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

/** Logs in as the wallet of a profile, outside of the browser. */
async function asWallet(secret: `0x${string}`): Promise<Circle> {
  const account = privateKeyToAccount(secret);
  const signer = walletSigner({
    async request({ method, params }: { method: string; params?: [`0x${string}`] }): Promise<unknown> {
      if (method === "eth_requestAccounts") return [account.address];
      if (method === "eth_chainId") return "0x1";
      return await account.signMessage({ message: { raw: params?.[0] ?? "0x" } });
    },
  });
  return await connect({ url, signer, WebSocket });
}

test("a wallet prompts once; then neither a reload nor a crash of the server does", async () => {
  const secret = `0x${"c1".repeat(32)}` as const;
  const { context, prompts } = await freshProfile(browser, secret);
  const page = await context.newPage();
  await page.goto(address());
  await isLive(page);
  assert.equal(prompts.length, 1);
  assert.equal(await page.textContent("#caller"), new SigningKey(secret).compressedPublicKey.slice(2));

  await page.reload();
  await isLive(page);
  assert.equal(prompts.length, 1);

  await server.kill();
  await eventually("the page to see it", async () => (await page.textContent("#status")) === "stale");
  await server.restart();
  const back = Date.now();
  const live = async () => (await page.textContent("#status")) === "live";
  await eventually("the value to be live again", live, 2000);
  await isLive(page, Math.max(0, back + 2000 - Date.now()));
  assert.equal(prompts.length, 1);

  // The caller removes this device from another one.
  const other = await asWallet(secret);
  const { device_keys: keys } = await other.listDeviceKeys();
  assert.deepEqual([keys.length, keys[0]?.label], [1, new URL(pages.origin).host]);
  await other.removeDeviceKey({ pubkey: keys[0]?.pubkey ?? "" });
  await eventually("the page to be out", async () => (await page.textContent("#status")) === "ended", 1000);
  other.close();
  assert.equal(prompts.length, 1);
  await context.close();
});

test("a page whose key the server doesn't know shows no prompt before somebody asks for a login", async () => {
  const secret = `0x${"c7".repeat(32)}` as const;
  const { context, prompts } = await freshProfile(browser, secret);
  const page = await context.newPage();
  await page.goto(address());
  await isLive(page);
  await page.goto(`${pages.origin}/node_modules/@circled/client/package.json`);
  const other = await asWallet(secret);
  const { device_keys: keys } = await other.listDeviceKeys();
  await other.removeDeviceKey({ pubkey: keys[0]?.pubkey ?? "" });
  other.close();
  await page.goto(address());
  const status = page.locator("#status", { hasText: /./ });
  assert.match((await status.textContent()) ?? "", /log in again/);
  assert.equal(prompts.length, 1);
  // As a click on the page's button would.
  await page.reload();
  await isLive(page);
  assert.equal(prompts.length, 2);
  await context.close();
});

test("tabs that begin together show one prompt, and share one key", async () => {
  const secret = `0x${"c2".repeat(32)}` as const;
  const { context, prompts } = await freshProfile(browser, secret);
  const tabs = await Promise.all([1, 2, 3].map(() => context.newPage()));
  await Promise.all(tabs.map((tab) => tab.goto(address())));
  for (const tab of tabs) await isLive(tab);
  assert.equal(prompts.length, 1);
  const other = await asWallet(secret);
  assert.equal((await other.listDeviceKeys()).device_keys.length, 1);
  other.close();
  await context.close();
});

test("the page can't read its device key", async () => {
  const { context } = await freshProfile(browser, `0x${"c3".repeat(32)}`);
  const page = await context.newPage();
  await page.goto(address());
  await isLive(page);
  const exported = await page.evaluate(async () => {
    const store = await new Promise<IDBObjectStore>((resolve) => {
      const opening = indexedDB.open("circled");
      opening.onsuccess = () => resolve(opening.result.transaction("device-keys").objectStore("device-keys"));
    });
    const [kept] = await new Promise<{ privateKey: CryptoKey }[]>((resolve) => {
      const reading = store.getAll();
      reading.onsuccess = () => resolve(reading.result);
    });
    if (!kept) return "nothing is kept";
    const formats = ["jwk", "pkcs8", "raw"] as const;
    const tries = formats.map((format) => crypto.subtle.exportKey(format as "jwk", kept.privateKey));
    return (await Promise.allSettled(tries)).map(({ status }) => status).join();
  });
  assert.equal(exported, "rejected,rejected,rejected");
  await context.close();
});

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
