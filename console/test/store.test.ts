/** The page Store: the tree, a key, and what each role may do there. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Circle } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually } from "./harness/server.js";

/** A name with markup, a control character, and one that turns the writing around. */
const HOSTILE = '<img src=x onerror="alert(1)">\u0007\u202eevil';
const LONG = 9223372036854775807n;

let browser: Browser;
let server: ConsoleServer;
const owner = SecretKey.generate();
const member = SecretKey.generate();
const guest = SecretKey.generate();
let circle: Circle;

before(async () => {
  const settings = '[circles]\nplay = "member"\ncall = "member"\nsubscribe = "member"';
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
  circle = await server.connect(owner.pubkey, owner);
  await circle.addMember({ pubkey: member.pubkey });
});
after(async () => {
  const profiles = await Promise.all(pages.values());
  const closed = await Promise.allSettled(profiles.map(([, profile]) => profile.close()));
  await stopAll();
  for (const one of closed) if (one.status === "rejected") throw one.reason;
});

/** Sets keys by a script. */
async function set(values: Record<string, unknown>): Promise<void> {
  await circle.play("for key in ARGS.keys() { store.set(key, ARGS[key]) }", values);
}

async function value(key: string): Promise<unknown> {
  return (await circle.play("store.get(ARGS)", key)).value;
}

/** The page of each who has logged in. */
const pages = new Map<SecretKey, Promise<[Page, Profile]>>();

/** Goes to an address of the store, as somebody who has logged in once. */
async function open(key: SecretKey, at = "store"): Promise<Page> {
  const logIn = async (): Promise<[Page, Profile]> => {
    const profile = await Profile.open(browser, server);
    return [await profile.logIn(owner.pubkey, key), profile];
  };
  const opened = pages.get(key) ?? logIn();
  pages.set(key, opened);
  const [page] = await opened;
  await go(page, `#/${owner.pubkey}/${at}`);
  return page;
}

const keys = (page: Page) => page.getByRole("grid", { name: "Keys" });
const row = (page: Page, text: string | RegExp) => keys(page).getByRole("row").filter({ hasText: text });

test("an empty store says what to do, and a key is made, changed, given a time to live, and deleted", async () => {
  const page = await open(owner);
  await page.getByText("The store is empty").waitFor();
  await look(page, "store-empty");
  await page.getByRole("button", { name: "New key" }).last().click();
  const dialog = page.getByRole("dialog", { name: "New key" });
  await dialog.getByLabel("Key").fill("user/1");
  await dialog.getByLabel("Value, as JSON").fill('{ "name": "Ada", "big": 9223372036854775807, "rate": 1.0');
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Value, as JSON").fill('{ "name": "Ada", "big": 9223372036854775807, "rate": 1.0 }');
  await dialog.getByRole("button", { name: "Make the key" }).click();
  await page.getByText("9223372036854775807").first().waitFor();
  assert.deepEqual(await value("user/1"), { big: LONG, name: "Ada", rate: 1 });
  assert.match(page.url(), /store\/user%2F1/);

  await page.getByRole("button", { name: "Edit" }).click();
  const text = page.getByLabel("Value, as JSON");
  assert.equal(await text.inputValue(), '{ "big": 9223372036854775807, "name": "Ada", "rate": 1.0 }');
  await text.fill('{ "big": 9223372036854775806, "rate": 2.0 }');
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("9223372036854775806").first().waitFor();
  assert.equal(
    (await circle.play('#{ v: store.get("user/1") }.to_json()')).value,
    '{"v":{"big":9223372036854775806,"rate":2.0}}',
  );

  await page.getByText("Doesn't expire", { exact: true }).waitFor();
  await page.getByLabel("Lives for").fill("1h");
  await page.getByRole("button", { name: "Set" }).click();
  await page.getByText(/^Expires/).waitFor();
  assert.ok(Number((await circle.play('store.ttl("user/1")')).value) > 3_500_000);
  // A save keeps the time.
  await page.getByRole("button", { name: "Edit" }).click();
  await text.fill('"kept"');
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText('"kept"').last().waitFor();
  assert.ok(Number((await circle.play('store.ttl("user/1")')).value) > 3_500_000);
  await page.getByRole("button", { name: "Keep for good" }).click();
  await page.getByText("Doesn't expire", { exact: true }).waitFor();

  await page.getByRole("button", { name: "Delete…" }).click();
  const confirm = page.getByRole("dialog", { name: "Delete this key?" });
  const sure = confirm.getByRole("button", { name: "Delete the key" });
  assert.ok(await sure.isDisabled());
  await confirm.getByLabel("Name").fill("user/1");
  await sure.click();
  await page.getByText("The store is empty").waitFor();
  assert.equal(await value("user/1"), null);
});

test("the tree shows groups and keys as they are, while they change", async () => {
  await set({
    "user/1": { name: "Ada" },
    "user/2": { name: "Grace" },
    "user/1/mail": "a@b",
    "cart:7": [1, 2],
    visits: 1,
  });
  const page = await open(member);
  await row(page, "user/").getByText("3 keys").waitFor();
  await row(page, "cart:").getByText("1 key").waitFor();
  await row(page, "user/").click();
  await row(page, '{"name":"Ada"}').waitFor();
  assert.match(page.url(), /in=user%2F/);
  await circle.play('store.set("user/3", "new"); store.incr("visits", 41); store.delete("cart:7")');
  await row(page, "new").waitFor();
  await row(page, /^visits42/).waitFor();
  await row(page, "cart:").waitFor({ state: "detached" });
  // By the keyboard alone.
  await keys(page).focus();
  for (const key of ["Home", "Enter", "End", "Enter"]) await page.keyboard.press(key);
  await page.getByRole("heading", { name: "visits" }).waitFor();
  await look(page, "store");
  // A link shows the same.
  await open(member, "live");
  await open(member, "store/user%2F1%2Fmail");
  await page.getByRole("heading", { name: "user/1/mail" }).waitFor();
  await row(page, '"a@b"').waitFor();
  await page.getByPlaceholder("Keys that begin with…").fill("user/1");
  await row(page, "user/1/mail").waitFor();
  assert.equal(await keys(page).getByRole("row").count(), 3);
  assert.match(page.url(), /q=user%2F1/);
});

test("what has changed meanwhile is shown beside one's own, and isn't overwritten", async () => {
  await set({ shared: { n: 1 } });
  const page = await open(member, "store/shared");
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Value, as JSON").fill('{ "n": 100 }');
  await set({ shared: { n: 2 } });
  const conflict = page.getByRole("region", { name: "The value has changed" });
  await conflict.getByText('{ "n": 2 }').waitFor();
  assert.ok(await page.getByRole("button", { name: "Save" }).isDisabled());
  await look(page, "store-conflict");
  await conflict.getByRole("button", { name: "Replace it with mine" }).click();
  await page.getByRole("button", { name: "Edit" }).waitFor();
  assert.deepEqual(await value("shared"), { n: 100 });
});

test("a save compares with what was shown, in one transaction", async () => {
  await set({ raced: 1 });
  const page = await open(member, "store/raced");
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Value, as JSON").fill("5");
  // The page doesn't learn of the change before it saves.
  await page.evaluate(() => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (data) {
      if (String(data).includes('"method":"play"')) {
        WebSocket.prototype.send = send;
        setTimeout(() => send.call(this, data), 500);
      } else send.call(this, data);
    };
  });
  await page.getByRole("button", { name: "Save" }).click();
  await set({ raced: 1.0000001 });
  await page.getByText("1.0000001").first().waitFor();
  await page.getByRole("button", { name: "Take this one" }).click();
  assert.equal(await page.getByLabel("Value, as JSON").inputValue(), "1.0000001");
  assert.equal(await value("raced"), 1.0000001);
});

test("a change that isn't saved isn't lost by opening another key", async () => {
  await set({ "unsaved/a": 1, "unsaved/b": 2 });
  const page = await open(member, "store/unsaved%2Fa");
  await page.getByRole("button", { name: "Edit" }).click();
  const text = page.getByLabel("Value, as JSON");
  await row(page, /^b2/).click();
  await page.getByRole("heading", { name: "unsaved/b" }).waitFor();
  await row(page, /^a1/).click();
  await page.getByRole("button", { name: "Edit" }).click();
  await text.fill("10");
  await row(page, /^b2/).click();
  const asked = page.getByRole("dialog", { name: "Leave without saving?" });
  await look(page, "store-unsaved");
  await asked.getByRole("button", { name: "Keep editing" }).click();
  assert.equal(await text.inputValue(), "10");
  await page.getByRole("button", { name: "Close" }).last().click();
  await asked.getByRole("button", { name: "Keep editing" }).click();
  await row(page, /^b2/).click();
  await asked.getByRole("button", { name: "Discard the change" }).click();
  await page.getByRole("heading", { name: "unsaved/b" }).waitFor();
  assert.equal(await value("unsaved/a"), 1);
});

test("a value that no script may return is shown, and isn't edited by a text that may differ", async () => {
  const other = await ConsoleServer.start({ settings: '[script]\nmax_result = "8KiB"' });
  const key = SecretKey.generate();
  const own = await other.connect(key.pubkey, key);
  await own.play('store.set("large", #{ rate: 1.0, text: ARGS })', "x".repeat(9000));
  const profile = await Profile.open(browser, other);
  const page = await profile.logIn(key.pubkey, key, { at: "store/large" });
  await page.getByText("rate", { exact: false }).first().waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByText("No script may return a value as large as this one").waitFor();
  assert.equal(await page.getByLabel("Value, as JSON").count(), 0);
  await profile.close();
  await other.stop();
});

test("all keys behind a prefix are deleted after their number was shown, and no more than that", async () => {
  await circle.play('for i in 0..300 { store.set("bulk/" + i, i) }');
  const page = await open(member, "store?in=bulk%2F");
  const group = page.getByRole("region", { name: "The group" });
  await group.getByText("300 keys").waitFor();
  await group.getByRole("button", { name: "Delete all…" }).click();
  const confirm = page.getByRole("dialog", { name: "Delete 300 keys?" });
  await look(page, "store-delete");
  await set({ "bulk/new": 1 });
  await confirm.getByLabel("Name").fill("bulk/");
  await confirm.getByRole("button", { name: "Delete 300 keys" }).click();
  await page.getByText("There are 301 keys now").waitFor();
  assert.equal((await circle.play('store.count("bulk/")')).value, 301);
  await group.getByRole("button", { name: "Delete all…" }).click();
  await page.getByLabel("Name").fill("bulk/");
  await page.getByRole("button", { name: "Delete 301 keys" }).click();
  await page.getByText("Deleted 301 keys").waitFor();
  assert.equal((await circle.play('store.count("bulk/")')).value, 0);
});

test("a guest who may not play sees why there is nothing", async () => {
  const page = await open(guest);
  await page.getByText("You may not see the store").waitFor();
  await page.getByText("the circle's rule “play” doesn't permit this").waitFor();
  await look(page, "store-guest");
});

test("who may manage and not play reads, and can't write", async () => {
  const settings = '[circles]\nplay = "owner"\nmanage = "member"';
  const other = await ConsoleServer.start({ settings });
  const [key, keeper] = [SecretKey.generate(), SecretKey.generate()];
  const own = await other.connect(key.pubkey, key);
  await own.addMember({ pubkey: keeper.pubkey });
  await own.play('for i in 100..350 { store.set("n/" + i, #{ i: i }) } store.set("n/999", 1, #{ ttl: "1h" })');
  const profile = await Profile.open(browser, other);
  const page = await profile.logIn(key.pubkey, keeper, { at: "store" });
  await row(page, "n/100").click();
  await page.getByRole("button", { name: "Edit" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Edit" }).getAttribute("aria-disabled"), "true");
  // The pages follow as it is scrolled.
  await keys(page).focus();
  await eventually("the last key", async () => {
    await page.keyboard.press("End");
    return (await row(page, "n/999").count()) === 1;
  });
  await go(page, `#/${key.pubkey}/store/n%2F999`);
  await page.getByText(/^Expires/).waitFor();
  await profile.close();
  await other.stop();
});

test("hostile keys and values are text", async () => {
  await set({ [HOSTILE]: { [HOSTILE]: HOSTILE, n: LONG }, [`${HOSTILE}/a`]: 1, __proto__: { __proto__: 1 } });
  await circle.play("store.set(ARGS, 1)", "k".repeat(512));
  const page = await open(owner, `store/${encodeURIComponent(HOSTILE)}`);
  await page.getByRole("heading", { name: "onerror" }).waitFor();
  await page.getByText("9223372036854775807").first().waitFor();
  assert.equal(await page.locator("img").count(), 0);
  const shown = String(await page.locator("body").textContent());
  assert.ok(
    shown.includes("⟨U+202E⟩") && /␇|⟨U\+0007⟩/.test(shown) && !shown.includes("\u202e") && !shown.includes("\u0007"),
  );
  await page.getByRole("button", { name: "Edit" }).click();
  const text = await page.getByLabel("Value, as JSON").inputValue();
  assert.ok(text.includes("\\u202e") && !text.includes("\u202e"));
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Saved", { exact: true }).waitFor();
  assert.deepEqual(await value(HOSTILE), { [HOSTILE]: HOSTILE, n: LONG });
  await look(page, "store-hostile");
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByLabel("Name").fill("delete");
  await page.getByRole("button", { name: "Delete the key" }).click();
  await page.getByText("Deleted the key").waitFor();
  assert.equal(await value(HOSTILE), null);
});

test("100,000 keys scroll", async () => {
  const many = SecretKey.generate();
  const own = await server.connect(many.pubkey, many);
  const fill = 'for i in ARGS..ARGS + 1000 { store.set("big/" + (1000000 + i), i) }';
  for (let at = 0; at < 100_000; at += 10_000) {
    await Promise.all(Array.from({ length: 10 }, (_, n) => own.play(fill, at + n * 1000)));
  }
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(many.pubkey, many, { at: "store?in=big%2F" });
  await row(page, "1000000").waitFor();
  await keys(page).focus();
  await eventually("the page after ten others", async () => {
    await page.keyboard.press("End");
    return (await row(page, "1001095").count()) === 1;
  });
  // Wherever it is scrolled to, the rows that are seen are there, and no others.
  const counts = await page.evaluate(async () => {
    const grid = document.querySelector(".table") as HTMLElement;
    const counts: number[] = [];
    for (let n = 0; n < 60; n++) {
      grid.scrollTop = (n * 7919) % grid.scrollHeight;
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      counts.push(grid.querySelectorAll("[role=row]").length);
    }
    return counts;
  });
  assert.ok(
    counts.every((count) => count > 10 && count < 80),
    String(counts),
  );
  await profile.close();
});
