/** The page of members and keys. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { keySigner, SecretKey } from "@circled/client/keys";
import { deviceSigner } from "@circled/client/signers";
import type { Browser, Page } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually } from "./harness/server.js";

/** A member by the settings. */
const fixed = SecretKey.fromHex("22".repeat(32)).pubkey;
/** The circle with that member. */
const key = SecretKey.fromHex("11".repeat(32));

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  const settings = `[circles]\nopen = true\n[[circle]]\nkey = "${key.pubkey}"\nmembers = ["${fixed}"]`;
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
});
after(stopAll);

const button = (page: Page, name: string | RegExp) => page.getByRole("button", { name, exact: true });
const people = (page: Page) => page.getByRole("grid", { name: "Members" });

test("an owner adds a member by key and removes them with their jobs; one of the settings stays", async () => {
  const ada = SecretKey.generate();
  const owner = await server.connect(key.pubkey, key);
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, key, { at: "members" });
  await people(page).getByText("member by the server's settings").waitFor();

  const field = page.getByLabel("Add a member by their public key");
  for (const [typed, fault] of [
    [ada.pubkey.slice(0, 60), /these are 60/],
    [ada.revealHex(), /secret key/],
    [`<b>${ada.pubkey}`, /digits 0 to 9/],
    [`05${ada.pubkey.slice(2)}`, /no public key/],
    [fixed.toUpperCase(), /belong to the circle already/],
  ] as const) {
    await field.fill(typed);
    await page.getByText(fault).waitFor();
    assert.ok(await button(page, "Add").isDisabled(), typed);
  }
  await field.fill(` 0x${ada.pubkey.toUpperCase()} `);
  await button(page, "Add").click();
  await people(page).getByTitle(ada.pubkey).waitFor();
  assert.equal((await owner.listMembers()).members[0]?.pubkey, ada.pubkey);

  // Another browser's change is seen, too.
  const bob = SecretKey.generate().pubkey;
  await owner.addMember({ pubkey: bob });
  await people(page).getByTitle(bob).waitFor();
  await look(page, "members");

  const theirs = await server.connect(key.pubkey, ada);
  const { job_id } = await theirs.submitJob({ script: "1", run_at: new Date(Date.now() + 3_600_000).toISOString() });
  const short = `${ada.pubkey.slice(0, 8)}…${ada.pubkey.slice(-6)}`;
  await button(page, `Remove ${short}`).click();
  await look(page, "members-remove");
  await page.getByLabel("Name", { exact: true }).fill(ada.pubkey.slice(-8));
  await button(page, "Remove").click();
  await people(page).getByTitle(ada.pubkey).waitFor({ state: "detached" });
  await page.getByText("Removed, and 1 job was cancelled").waitFor();
  assert.equal((await owner.getJob({ job_id })).status, "cancelled");
  await profile.close();
});

test("of many members, only what is seen is in the page, and a key is found by its digits", async () => {
  const secret = SecretKey.generate();
  const owner = await server.connect(secret.pubkey, secret);
  const many = Array.from({ length: 200 }, () => SecretKey.generate().pubkey);
  await Promise.all(many.map((pubkey) => owner.addMember({ pubkey })));
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(secret.pubkey, secret, { at: "members" });
  await page.getByRole("heading", { name: "Members (200)" }).waitFor();
  await people(page).getByText("member", { exact: true }).first().waitFor();
  assert.ok((await people(page).getByRole("row").count()) < 60, "not all rows are there");
  const { members } = await owner.listMembers();
  const last = String(members.at(-1)?.pubkey);
  await people(page).focus();
  await page.keyboard.press("End");
  await people(page).getByTitle(last).waitFor();
  await look(page, "members-many");
  await page.getByPlaceholder("Search keys").fill(last.slice(-12).toUpperCase());
  await people(page).getByTitle(last).waitFor();
  assert.equal(await people(page).getByRole("row").count(), 2, "the head and the member");
  await profile.close();
});

test("a member and a guest see themselves and their device keys, and copy their public key", async () => {
  const owner = await server.connect(key.pubkey, key);
  const member = SecretKey.generate();
  await owner.addMember({ pubkey: member.pubkey });
  for (const [role, caller] of [
    ["member", member],
    ["guest", SecretKey.generate()],
  ] as const) {
    const profile = await Profile.open(browser, server);
    await profile.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = await profile.logIn(key.pubkey, caller, { at: "members" });
    await page.getByText("The list of members is not for you to see").waitFor();
    await page.getByText(`You are a ${role} here`).first().waitFor();
    await button(page, "Copy your public key").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), caller.pubkey);
    if (role === "guest") await look(page, "members-guest");
    await profile.close();
  }
});

test("device keys of hostile names are listed with scope and times, and removed", async () => {
  const caller = SecretKey.generate();
  const label = "<img src=x onerror=alert(1)> \u202egnp.exe";
  const scope = ["call:hello", "subscribe"];
  const device = await server.connect(key.pubkey, deviceSigner({ inner: keySigner(caller), label, scope }));
  const { device: pubkey } = await device.whoami();
  assert.ok(pubkey);

  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, caller, { at: "members" });
  const list = page.getByRole("list", { name: "Device keys" });
  await list.getByText("<img src=x onerror=alert(1)> ⟨U+202E⟩gnp.exe").waitFor();
  await list.getByText("call:hello, subscribe").waitFor();
  await look(page, "members-devices");
  await button(page, "Remove…").click();
  await page.getByLabel("Name", { exact: true }).fill(pubkey.slice(-8));
  await button(page, "Remove").click();
  await page.getByText("None. A device key logs in for you").waitFor();
  await eventually("the end of its session", () => device.getSnapshot().phase === "closed");
  await profile.close();
});

test("a wallet's browser has a device key, which can't manage until the wallet is asked once", async () => {
  const secret = SecretKey.generate();
  const circle = secret.pubkey;
  const profile = await Profile.open(browser, server, `0x${secret.revealHex()}`);
  const page = await profile.visit();
  await page.getByLabel("Circle", { exact: true }).fill(circle);
  await button(page, "MetaMask").click();
  await page.getByText("Connected").waitFor();
  await go(page, `#/${circle}/members`);
  await people(page).getByText("owner: holds the circle's key").waitFor();
  await page.getByRole("list", { name: "Device keys" }).getByText("this browser").waitFor();

  await page.reload();
  const main = page.getByRole("main");
  await main.getByText("This browser's device key can't manage: unlock with your wallet").waitFor();
  await look(page, "members-locked");
  assert.equal(profile.prompts.length, 1, "a reload asks nobody");
  await main.getByRole("button", { name: "Unlock with wallet" }).click();
  await people(page).getByText("owner: holds the circle's key").waitFor();
  assert.equal(profile.prompts.length, 2);
  await profile.close();
});
