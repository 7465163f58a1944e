/** Logging in, and what follows from it. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page, WebSocket } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start()]);
});
after(stopAll);

const hex = (key: SecretKey): `0x${string}` => `0x${key.revealHex()}`;
const isConnected = (page: Page) => page.getByText("Connected", { exact: true }).waitFor();

/** Reads the file that a click has saved. */
async function saved(page: Page, click: () => Promise<void>): Promise<{ name: string; key: SecretKey }> {
  const [download] = await Promise.all([page.waitForEvent("download"), click()]);
  return { name: download.suggestedFilename(), key: SecretKey.fromHex(await readFile(await download.path(), "utf8")) };
}

/** Chooses a circle on the login page, and a way by the name of its button. */
async function choose(page: Page, circle: string, way: string | RegExp): Promise<void> {
  await page.getByLabel("Circle", { exact: true }).fill(circle);
  await page.getByRole("button", { name: way }).click();
}

/** Logs out where the browser keeps the key, by one of the two buttons. */
async function logOutKept(page: Page, how = "Log out"): Promise<void> {
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("dialog", { name: "Log out?" }).getByRole("button", { name: how, exact: true }).click();
  await page.getByRole("heading", { name: "Open a circle" }).waitFor();
}

test("a circle is made: its key is saved and kept, and it is there after a reload", async () => {
  const profile = await Profile.open(browser, server);
  const page = await profile.visit();
  await page.getByRole("heading", { name: "Make a circle" }).waitFor();
  await look(page, "login");
  const make = page.getByRole("button", { name: "Make a circle" });
  const { name, key } = await saved(page, () => make.click());
  await isConnected(page);
  assert.match(name, /^0[23][0-9a-f]{8}\.key$/);
  assert.ok(page.url().endsWith(`#/${key.pubkey}/overview`), page.url());
  await page.getByText("owner", { exact: true }).first().waitFor();

  const copy = await saved(page, () => page.getByRole("button", { name: "Save your key as a file" }).click());
  assert.equal(copy.key.pubkey, key.pubkey);

  await go(page, `#/${key.pubkey}/store?prefix=a`);
  await page.reload();
  await isConnected(page);
  assert.ok(page.url().endsWith("/store?prefix=a"), "the page is the same");
  const readable = await page.evaluate(async () => {
    const opening = indexedDB.open("circled-console:/console/");
    await new Promise((resolve) => opening.addEventListener("success", resolve));
    const reading = opening.result.transaction("keys").objectStore("keys").getAll();
    await new Promise((resolve) => reading.addEventListener("success", resolve));
    const [kept] = reading.result;
    const exported = await crypto.subtle.exportKey("raw", kept.wrapper).catch((error) => error.name);
    const bytes = new TextDecoder().decode(kept.secret);
    return [exported, bytes, JSON.stringify(kept), JSON.stringify(localStorage), JSON.stringify(sessionStorage)];
  });
  assert.equal(readable[0], "InvalidAccessError");
  assert.ok(!readable.join().includes(key.revealHex()), "the key is nowhere as it is");

  // Who has logged out isn't in again without a click; the key stays, until it is forgotten by its name.
  await logOutKept(page);
  await page.goto(server.console(`#/${key.pubkey}/overview`));
  await page.reload();
  await page.getByRole("heading", { name: "As the last time" }).waitFor();
  await look(page, "login-known");
  const again = await saved(page, () => page.getByRole("button", { name: /^Save .* as a file$/ }).click());
  assert.equal(again.key.pubkey, key.pubkey);
  await page.getByRole("button", { name: /^Open 0/ }).click();
  await isConnected(page);
  await page.getByRole("button", { name: "Log out" }).click();
  await look(page, "log-out");
  await page.getByRole("button", { name: "Cancel" }).click();
  await isConnected(page);
  await logOutKept(page);
  await page.getByRole("button", { name: /^Forget/ }).click();
  const dialog = page.getByRole("dialog", { name: "Forget this key?" });
  await dialog.waitFor();
  await look(page, "confirm");
  assert.ok(await dialog.getByRole("button", { name: "Forget" }).isDisabled());
  await dialog.getByLabel("Name").fill(key.pubkey.slice(0, 8));
  await dialog.getByRole("button", { name: "Forget" }).click();
  await page.getByRole("heading", { name: "Keys of this browser" }).waitFor({ state: "detached" });
  await page.getByText("Owner, by a key file").waitFor();
  await profile.close();
});

test("who logs out on a computer of others has the key forgotten, after its file was saved", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, key, { keep: true });
  await page.getByRole("button", { name: "Log out" }).click();
  const save = page.getByRole("button", { name: "Save the key as a file" });
  assert.equal((await saved(page, () => save.click())).key.pubkey, key.pubkey);
  await page.getByRole("button", { name: "Cancel" }).click();
  await logOutKept(page, "Log out and forget the key");
  await page.reload();
  await page.getByRole("heading", { name: "Open a circle" }).waitFor();
  assert.equal(await page.getByText("Keys of this browser").count(), 0);
  assert.equal(await page.getByRole("button", { name: /^Key 0/ }).count(), 0);
  assert.equal(await page.getByText("by a key of this browser").count(), 0);
  await profile.close();
});

test("a key file is for one visit, unless the browser keeps it", async () => {
  const owner = SecretKey.generate();
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(owner.pubkey, key);
  await page.getByText("guest", { exact: true }).first().waitFor();
  // After a reload, the page says why it asks, and leads back to where one was.
  const hash = `#/${owner.pubkey}/live?topic=a.b`;
  await go(page, hash);
  await page.reload();
  await page.getByText("The key was given for one visit. Choose the file again").waitFor();
  await look(page, "login-again");
  const again = { name: "my.key", mimeType: "text/plain", buffer: Buffer.from(key.revealHex()) };
  await page.getByLabel("Choose the file").setInputFiles(again);
  await isConnected(page);
  assert.ok(page.url().endsWith(hash), page.url());
  await page.reload();
  const file = page.getByLabel(/^Key file/);
  await file.setInputFiles(again);
  await isConnected(page);
  assert.ok(page.url().endsWith(hash), page.url());
  await page.reload();
  assert.equal(await page.getByLabel("Circle", { exact: true }).inputValue(), owner.pubkey, "the circle is filled in");
  await file.setInputFiles({ name: "x.key", mimeType: "text/plain", buffer: Buffer.from("no key") });
  await page.getByText("This file is no key file: it should have 64 hex digits").waitFor();
  await profile.close();
});

test("without a circle, a key file opens that of its key, as its owner", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn("", key);
  assert.ok(page.url().endsWith(`#/${key.pubkey}/overview`), page.url());
  await page.getByText("owner", { exact: true }).first().waitFor();
  await profile.close();
});

test("a circle of another server can't be opened here", async () => {
  const profile = await Profile.open(browser, server);
  const page = await profile.visit();
  const { pubkey } = SecretKey.generate();
  await page.getByLabel("Circle", { exact: true }).fill(`https://evil.example/${pubkey}`);
  await page.getByText("That circle is on another server, evil.example").waitFor();
  assert.ok(await page.getByLabel(/^Key file/).isDisabled());
  await page.getByLabel("Circle", { exact: true }).fill(`${server.console()}#/${pubkey}/store`);
  await page.getByText("That circle is on another server").waitFor({ state: "detached" });
  assert.ok(await page.getByLabel(/^Key file/).isEnabled());
  await profile.close();
});

test("a new key is made for a circle of others, and saved", async () => {
  const owner = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const page = await profile.visit();
  await page.getByLabel("Circle", { exact: true }).fill("02ab");
  await page.getByText("This is no circle's key").waitFor();
  await page.getByLabel("Circle", { exact: true }).fill(`${server.wsOrigin}/${owner.pubkey}`);
  const { key } = await saved(page, () => page.getByRole("button", { name: "New key" }).click());
  await isConnected(page);
  const { pubkey } = await (await server.connect(owner.pubkey, key)).whoami();
  assert.equal(pubkey, key.pubkey);
  await profile.close();
});

test("a wallet is asked once; after a reload its device key logs in, and it is asked to manage", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server, hex(key));
  const page = await profile.visit();
  await choose(page, key.pubkey, "MetaMask");
  await isConnected(page);
  assert.equal(profile.prompts.length, 1);
  const locked = page.getByRole("button", { name: "Unlock with wallet" });
  await page.getByRole("region", { name: "Usage" }).waitFor();
  assert.equal(await locked.count(), 0, "the session is the wallet's own");

  await page.reload();
  await isConnected(page);
  await locked.first().waitFor();
  await page.getByText("This browser's device key can't manage: unlock with your wallet").first().waitFor();
  await look(page, "overview-locked");
  assert.equal(profile.prompts.length, 1);
  await locked.first().click();
  await page.getByRole("region", { name: "Usage" }).waitFor();
  assert.equal(await locked.count(), 0);
  assert.equal(profile.prompts.length, 2);

  const circle = await server.connect(key.pubkey, key);
  const devices = async () => (await circle.listDeviceKeys()).device_keys;
  assert.equal((await devices()).length, 1, "it has kept its device key");
  await page.reload();
  await isConnected(page);
  // The device key is removed from elsewhere: the page says so, and asks nobody by itself.
  await circle.removeDeviceKey({ pubkey: (await devices())[0]?.pubkey ?? "" });
  await page.getByText("The session has ended. This browser's device key was removed").waitFor();
  await look(page, "ended");
  assert.equal(profile.prompts.length, 2);
  await page.getByRole("button", { name: "Log in again" }).click();
  await isConnected(page);
  assert.equal(profile.prompts.length, 3);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Open a circle" }).waitFor();
  await eventually("the device key to be removed", async () => (await devices()).length === 0);
  await profile.close();
});

test("who logs out while the wallet asks stays out", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server, hex(key));
  const page = await profile.visit();
  await choose(page, key.pubkey, "MetaMask");
  await isConnected(page);
  await page.reload();
  await isConnected(page);
  const sockets = new Set<WebSocket>();
  page.on("websocket", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  let answer = () => {};
  profile.hold = new Promise((resolve) => {
    answer = resolve;
  });
  await page.getByRole("button", { name: "Unlock with wallet" }).first().click();
  await eventually("the prompt", () => profile.prompts.length === 2);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Open a circle" }).waitFor();
  answer();
  await eventually("all sockets to be closed", () => sockets.size === 0);
  await page.getByRole("heading", { name: "Open a circle" }).waitFor();
  await profile.close();
});

test("of two circles that are opened at once, the last one is shown", async () => {
  const [one, other] = [SecretKey.generate(), SecretKey.generate()];
  const profile = await Profile.open(browser, server);
  for (const key of [one, other]) await (await profile.logIn(key.pubkey, key, { keep: true })).close();
  profile.expected = /closed before the connection is established/;
  const page = await profile.visit();
  const hashes = [one, other].map(({ pubkey }) => `#/${pubkey}/overview`);
  await page.evaluate(async (to) => {
    for (const hash of to) {
      const changed = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
      location.hash = hash;
      await changed;
    }
  }, hashes);
  await isConnected(page);
  await page.getByRole("definition").getByTitle(other.pubkey).first().waitFor();
  await profile.close();
});

test("who logs out in one tab, or has a key forgotten, is out in the others", async () => {
  const [key, guest] = [SecretKey.generate(), SecretKey.generate()];
  const profile = await Profile.open(browser, server);
  const other = await profile.logIn(key.pubkey, guest);
  const page = await profile.logIn(key.pubkey, key, { keep: true });
  const second = await profile.visit(`#/${key.pubkey}/scripts/-new`);
  await isConnected(second);
  await second.evaluate((circle) => {
    sessionStorage.setItem(`circled-console:/console/:text:${circle}:draft:x`, "1");
  }, key.pubkey);
  const isOut = async (tab: Page) => {
    await tab.getByText("Logged out in another tab").waitFor();
    await tab.getByRole("heading", { name: "Open a circle" }).waitFor();
  };
  await logOutKept(page);
  await isOut(second);
  assert.deepEqual(await second.evaluate(() => Object.keys(sessionStorage)), [], "its drafts are forgotten");
  assert.ok(await other.getByText("Connected", { exact: true }).isVisible(), "the key of a file is another login");

  await choose(page, key.pubkey, /^Key 0.* of this browser$/);
  await isConnected(page);
  await second.reload();
  await second.getByRole("button", { name: /^Forget/ }).click();
  const dialog = second.getByRole("dialog", { name: "Forget this key?" });
  await dialog.getByLabel("Name").fill(key.pubkey.slice(0, 8));
  await dialog.getByRole("button", { name: "Forget" }).click();
  await isOut(page);
  await page.getByRole("heading", { name: "Keys of this browser" }).waitFor({ state: "detached" });
  await profile.close();
});

test("a browser that keeps nothing has the key of a new circle saved", async () => {
  const profile = await Profile.open(browser, server);
  await profile.context.addInitScript(() => {
    IDBFactory.prototype.open = () => {
      throw new DOMException("denied", "SecurityError");
    };
  });
  const page = await profile.visit();
  await page.getByLabel("Save its key as a file").uncheck();
  const { key } = await saved(page, () => page.getByRole("button", { name: "Make a circle" }).click());
  await page.getByText("This browser doesn't keep the key: you need its file the next time").waitFor();
  await isConnected(page);
  await page.reload();
  assert.equal(await page.getByLabel("Circle", { exact: true }).inputValue(), key.pubkey);
  await profile.close();
});

test("where browsers can't sign, the page says so", async () => {
  const profile = await Profile.open(browser, server);
  await profile.context.addInitScript(() => Object.defineProperty(globalThis, "isSecureContext", { value: false }));
  const page = await profile.visit();
  await page.getByText("Browsers sign on https:// and on localhost only").first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Make a circle" }).getAttribute("aria-disabled"), "true");
  await profile.close();
});

test("a Nostr signer is asked once, too", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server, hex(key));
  const page = await profile.visit();
  await choose(page, `02${key.pubkey.slice(2)}`, "Nostr signer");
  await isConnected(page);
  await page.reload();
  await isConnected(page);
  assert.equal(profile.prompts.length, 1);
  await page.getByRole("button", { name: "Unlock with Nostr" }).first().click();
  await page.getByRole("region", { name: "Usage" }).waitFor();
  assert.equal(profile.prompts.length, 2);
  await profile.close();
});

test("after a crash of the server, the page says so, and what was on it comes back", async () => {
  const own = await ConsoleServer.start();
  const key = SecretKey.generate();
  const circle = await own.connect(key.pubkey, key);
  await circle.putScript({ name: "hello", source: "1" });
  const profile = await Profile.open(browser, own);
  profile.expected = /WebSocket connection to|502/;
  const page = await profile.logIn(key.pubkey, key, { at: "scripts" });
  await page.getByText("hello").first().waitFor();
  await own.kill();
  await page.getByText("The connection is lost: reconnecting…").waitFor();
  await page.getByText("hello").first().waitFor();
  await look(page, "reconnecting");
  await own.restart();
  await isConnected(page);
  await page.getByText("The connection is lost").waitFor({ state: "detached" });
  await circle.putScript({ name: "second", source: "2" });
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("link", { name: "Scripts", exact: true }).click();
  await page.getByText("second").first().waitFor();
  await profile.close();
  await own.stop();
});

test("behind a path prefix, all addresses are below it", async () => {
  const own = await ConsoleServer.start({ prefix: "/some/prefix" });
  const profile = await Profile.open(browser, own);
  const page = await profile.visit();
  const socket = page.waitForEvent("websocket");
  const { key } = await saved(page, () => page.getByRole("button", { name: "Make a circle" }).click());
  await isConnected(page);
  assert.equal((await socket).url(), `${own.wsOrigin}/some/prefix/${key.pubkey}`);
  assert.ok(page.url().startsWith(`${own.origin}/some/prefix/console/#/`), page.url());
  for (const name of ["Scripts", "Jobs"]) {
    await page.getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { name, exact: true, level: 1 }).waitFor();
  }
  const names = await page.evaluate(async () => [
    ...(await indexedDB.databases()).map(({ name }) => name),
    ...Object.keys(localStorage),
    ...Object.keys(sessionStorage),
  ]);
  assert.ok(names.length > 2, `${names}`);
  const foreign = names.filter((name) => !name?.startsWith("circled-console:/some/prefix/console/"));
  assert.deepEqual(foreign, [], "what is kept doesn't meet that of another console of this origin");
  await profile.close();
  await own.stop();
});

test("a circle that the server doesn't have is refused clearly", async () => {
  const key = SecretKey.generate();
  const settings = `[circles]\nopen = false\n[[circle]]\nkey = "${key.pubkey}"\n`;
  const own = await ConsoleServer.start({ settings });
  const profile = await Profile.open(browser, own);
  profile.expected = /WebSocket connection to|404/;
  const page = await profile.visit();
  await page.getByRole("button", { name: "Make a circle" }).click();
  await page.getByText("This server takes no new circles").waitFor();
  assert.equal(await page.getByRole("heading", { name: "Keys of this browser" }).count(), 0, "no key is left of it");
  await page.getByLabel("Circle", { exact: true }).fill(SecretKey.generate().pubkey);
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByText("There is no such circle here").waitFor();
  await look(page, "refused");
  await profile.close();
  await own.stop();
});
