/** The page API: every method, called, and as code. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import type { Circle, Json } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page } from "playwright-core";
import { command } from "../src/pages/api/command.js";
import { snippets } from "../src/pages/api/snippets.js";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually } from "./harness/server.js";

const HOSTILE = "<script>alert('1')</script>\u202e\u0007 $(id) `id` \"";

let browser: Browser;
let server: ConsoleServer;
const owner = SecretKey.generate();
const guest = SecretKey.generate();
const member = SecretKey.generate();
let circle: Circle;
const pages = new Map<SecretKey, Promise<[Page, Profile]>>();

before(async () => {
  const settings = '[circles]\nplay = "member"\ncall = "member"\nsubscribe = "member"';
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
  circle = await server.connect(owner.pubkey, owner);
  await circle.addMember({ pubkey: member.pubkey });
  await circle.putScript({ name: "open", source: "ARGS", call: "guest" });
});
after(async () => {
  const profiles = await Promise.all(pages.values());
  const closed = await Promise.allSettled(profiles.map(([, profile]) => profile.close()));
  await stopAll();
  for (const one of closed) if (one.status === "rejected") throw one.reason;
});

/** Goes to an address of the page, as somebody who has logged in once. */
async function open(key: SecretKey, at: string): Promise<Page> {
  const logIn = async (): Promise<[Page, Profile]> => {
    const profile = await Profile.open(browser, server);
    return [await profile.logIn(owner.pubkey, key), profile];
  };
  const opened = pages.get(key) ?? logIn();
  pages.set(key, opened);
  const [page] = await opened;
  await go(page, `#/${owner.pubkey}/overview`);
  await go(page, `#/${owner.pubkey}/${at}`);
  return page;
}

/** What a test has put into a page, to hold a request. */
interface Hold {
  readonly frames: string[];
  release: () => void;
}

const called = (page: Page) => page.getByRole("region", { name: "The call" });
const message = (page: Page, title: string) =>
  called(page).getByRole("region", { name: title, exact: true }).textContent().then(String);
const callIt = (page: Page) => page.getByRole("button", { name: "Call", exact: true }).click();

test("all methods are listed and found, each with a form", async () => {
  const page = await open(owner, "api");
  const list = page.getByRole("navigation", { name: "Methods" });
  await list.getByRole("link").first().waitFor();
  const { methods } = (await circle.discover()) as unknown as {
    methods: { name: string; params: { name: string }[] }[];
  };
  assert.equal(await list.getByRole("link").count(), methods.length);
  await look(page, "api-list");
  for (const { name, params } of methods) {
    await go(page, `#/${owner.pubkey}/api/${name}`);
    const form = page.getByRole("form", { name: `Call ${name}`, exact: true });
    await form.waitFor();
    const labels = await form.locator("label").allInnerTexts();
    assert.deepEqual(
      labels.map((label) => label.replace(" (optional)", "")),
      params.map((param) => param.name),
      name,
    );
  }
  await go(page, `#/${owner.pubkey}/api`);
  await page.getByPlaceholder("Search methods").fill("dead");
  await list.getByRole("link", { name: "retry_dead" }).waitFor();
  assert.match(page.url(), /q=dead/);
  await go(page, `#/${owner.pubkey}/api/nothing`);
  await page.getByText("There is no such method").waitFor();
});

test("a method is called by its form, and the exact JSON is shown", async () => {
  const page = await open(owner, "api/play");
  await page.getByText("script is needed").waitFor();
  await page.getByLabel("script").fill("[ARGS, 1.0]");
  await page.getByLabel(/^args/).fill('{ "n": 9223372036854775807');
  await page.getByRole("form").getByRole("alert").waitFor();
  await page.getByLabel(/^args/).fill('{ "n": 9223372036854775807 }');
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  assert.match(await message(page, "Sent"), /"method": "play"[\s\S]*"n": 9223372036854775807/);
  assert.match(await message(page, "Received"), /9223372036854775807 }, 1\.0\]/);
  await look(page, "api-play");
  assert.match(page.url(), /params=/);
  // The link has the parameters; as JSON, they are the same.
  const link = page.url().replace(/^.*#\/[^/]*\//, "");
  await open(owner, link);
  assert.equal(await page.getByLabel("script").inputValue(), "[ARGS, 1.0]");
  await page.getByRole("button", { name: "JSON" }).first().click();
  const raw = page.getByLabel("Parameters, as JSON");
  assert.match(await raw.inputValue(), /9223372036854775807/);
  await raw.fill('{ "script": "throw 1" }');
  await callIt(page);
  await called(page).getByText("error", { exact: true }).waitFor();
  assert.match(await message(page, "Received"), /"kind": "runtime"/);
  await raw.fill("[1");
  assert.ok(await page.getByRole("button", { name: "Call", exact: true }).isDisabled());
});

test("a subscription that was begun shows what comes, until it is ended", async () => {
  const page = await open(owner, "api/watch");
  await page.getByLabel(/^script/).fill('store.get("n")');
  await callIt(page);
  await called(page).getByText("none yet").waitFor();
  await circle.play('store.set("n", 9007199254740993)');
  await called(page).getByText("9007199254740993").waitFor();
  await called(page).getByRole("button", { name: "Unsubscribe" }).click();
  await called(page).getByRole("button", { name: "Unsubscribe" }).waitFor({ state: "detached" });
});

test("a subscription ends with the page that has begun it, also if it begins later than that", async () => {
  const page = await open(owner, "api/watch");
  await page.getByLabel(/^script/).fill("let held = 1; held");
  // The request is held until the page is another one.
  await page.evaluate(() => {
    const { send } = WebSocket.prototype;
    const frames: string[] = [];
    const hold = Object.assign(globalThis as unknown as Hold, { frames, release: () => {} });
    WebSocket.prototype.send = function (data) {
      frames.push(String(data));
      if (!String(data).includes("held")) return send.call(this, data);
      this.addEventListener("message", (event) => frames.push(event.data));
      hold.release = () => send.call(this, data);
    };
  });
  await callIt(page);
  await go(page, `#/${owner.pubkey}/api/whoami`);
  await page.getByRole("form", { name: "Call whoami" }).waitFor();
  await page.evaluate(() => (globalThis as unknown as Hold).release());
  await eventually("the end of the subscription", async () => {
    const texts = await page.evaluate(() => (globalThis as unknown as Hold).frames);
    const frames = texts.map((text) => JSON.parse(text));
    const { id } = frames.find(({ params }) => params?.script?.includes("held"));
    const begun = frames.find((frame) => frame.id === id && frame.result)?.result.subscription;
    return frames.some(({ method, params }) => begun && method === "unsubscribe" && params.subscription === begun);
  });
});

test("the address has no parameters that are long, or prove who calls", async () => {
  const page = await open(owner, "api/play");
  await page.getByLabel("script").fill("1");
  const hasParams = () => page.url().includes("params=");
  await eventually("parameters in the address", hasParams);
  await page.getByLabel("script").fill(`"${"a".repeat(2048)}"`);
  await eventually("an address without parameters", () => !hasParams());
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  const params = encodeURIComponent('{ "challenge": "00" }');
  await open(owner, `api/prove?params=${params}`);
  await page.getByRole("form", { name: "Call prove" }).waitFor();
  await eventually("an address without parameters", () => !hasParams());
});

test("a guest sees all methods, and calls what a role permits", async () => {
  const page = await open(guest, "api/put_script");
  const call = page.getByRole("button", { name: "Call", exact: true });
  await call.waitFor();
  assert.equal(await call.getAttribute("aria-disabled"), "true");
  await look(page, "api-guest");
  await open(guest, `api/call?params=${encodeURIComponent('{ "name": "open", "args": 7 }')}`);
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  await open(guest, "api/whoami");
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  assert.match(await message(page, "Received"), /"role": "guest"/);
  await open(guest, "api/authenticate");
  assert.equal(await call.getAttribute("aria-disabled"), "true");
});

test("a member calls what their role permits, and is told what it doesn't", async () => {
  const page = await open(member, "api/whoami");
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  assert.match(await message(page, "Received"), /"role": "member"/);
  await open(member, `api/play?params=${encodeURIComponent('{ "script": "6 * 7" }')}`);
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  assert.match(await message(page, "Received"), /42/);
  const why = "You are a member here: the circle's rule “manage” doesn't permit this";
  for (const name of ["put_script", "store_list", "usage"]) {
    await open(member, `api/${name}`);
    const form = page.getByRole("form", { name: `Call ${name}`, exact: true });
    const call = form.getByRole("button", { name: "Call", exact: true });
    await call.waitFor();
    assert.equal(await call.getAttribute("title"), why, name);
    assert.equal(await call.getAttribute("aria-disabled"), "true", name);
    await page.getByRole("link", { name: `${name} not permitted` }).waitFor();
  }
});

test("a device key's session says what it may not call", async () => {
  const wallet = SecretKey.generate();
  await circle.addMember({ pubkey: wallet.pubkey });
  const profile = await Profile.open(browser, server, `0x${wallet.revealHex()}`);
  const page = await profile.visit();
  await page.getByLabel("Circle", { exact: true }).fill(owner.pubkey);
  await page.getByRole("button", { name: "MetaMask" }).click();
  await page.getByText("Connected").waitFor();
  await page.reload();
  await page.getByText("Connected").waitFor();
  for (const [name, isOff] of Object.entries({ add_device_key: "true", list_device_keys: null, list_jobs: null })) {
    await go(page, `#/${owner.pubkey}/api/${name}`);
    const form = page.getByRole("form", { name: `Call ${name}`, exact: true });
    const call = form.getByRole("button", { name: "Call", exact: true });
    assert.equal(await call.getAttribute("aria-disabled"), isOff, name);
  }
  await go(page, `#/${owner.pubkey}/api/add_device_key`);
  await page
    .getByRole("main")
    .getByText("This browser's device key may not call it")
    .first()
    .waitFor({ state: "attached" });
  await profile.close();
});

test("hostile values are text", async () => {
  const page = await open(
    member,
    `api/play?params=${encodeURIComponent(JSON.stringify({ script: "ARGS", args: HOSTILE }))}`,
  );
  await callIt(page);
  await called(page).getByText("ok").waitFor();
  const shown = String(await page.locator("main").textContent());
  assert.ok(shown.includes("<script>") && shown.includes("\\u202e") && !shown.includes("\u202e"));
  for (const form of ["TypeScript", "Rust", "Shell"]) {
    await page.getByRole("button", { name: form, exact: true }).click();
    await page.getByRole("region", { name: form, exact: true }).waitFor();
    assert.ok(!String(await page.locator("main").textContent()).includes("\u202e"));
  }
  await look(page, "api-code");
});

test("the commands and programs do what they say", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "circled-api-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "me.key"), owner.revealHex(), { mode: 0o600 });
  const url = `${server.wsOrigin}/${owner.pubkey}`;
  const binary = resolve(process.env.CIRCLED_TEST_BINARY ?? "../target/debug/circled");
  const run = async (method: string, params: { [name: string]: Json }) => {
    const line = command(method, params, url);
    assert.ok(line, `${method} has a command`);
    const script = `circled() { "${binary}" "$@"; }\n${line}`;
    return (await promisify(execFile)("sh", ["-c", script], { cwd: folder })).stdout;
  };
  const args = { text: HOSTILE, n: 9223372036854775807n };
  assert.deepEqual(await run("play", { script: "ARGS.n", args, timeout_ms: 4000 }), "9223372036854775807\n");
  await run("play", { script: '-1; store.set("shell", ARGS.text)', args });
  assert.equal((await circle.play('store.get("shell")')).value, HOSTILE);
  const source = `// ${HOSTILE}\nARGS`;
  await run("put_script", { name: "made", source, call: "member" });
  assert.equal((await circle.getScript({ name: "made" })).source, source);
  assert.equal(await run("call", { name: "made", args: 5 }), "5\n");
  await run("check_script", { source });
  await run("delete_script", { name: "made" });
  await run("add_member", { pubkey: guest.pubkey });
  assert.match(await run("list_members", {}), new RegExp(guest.pubkey));
  await run("remove_member", { pubkey: guest.pubkey, stop_jobs: true });
  const id = (await run("submit_job", { script: "1", args, idempotency_key: HOSTILE.slice(0, 8) })).trim();
  assert.match(await run("get_job", { job_id: id }), new RegExp(id));
  await run("list_jobs", { limit: 5, kind: "submitted" });
  await run("usage", {});
  await run("list_deliveries", { provider: "stripe" });
  assert.equal(command("store_list", {}, url), undefined);
  assert.equal(command("list_jobs", { cursor: "x" }, url), undefined);
  assert.equal(command("constructor", {}, url), undefined);
  // The TypeScript is that of the SDK.
  const [, typescript] = snippets(
    "play",
    { script: "ARGS", args: { __proto__: 1, n: 9223372036854775807n, "a b": HOSTILE } },
    url,
    circle,
  );
  assert.match(typescript?.code ?? "", /circle\.play\("ARGS", \{ n: 9223372036854775807n, "a b": "<script>/);
  assert.match(
    snippets("store_list", { prefix: "a" }, url, circle)[1]?.code ?? "",
    /circle\.storeList\(\{ prefix: "a" \}\)/,
  );
  const rust = (method: string, params: { [name: string]: Json }) =>
    snippets(method, params, url, circle)[2]?.code ?? "";
  assert.ok(rust("play", { script: 'a"##' }).includes('from_str(r###"{ "script": "a\\"##" }"###)?;'));
  assert.match(
    rust("watch", { name: "visits", args: [1] }),
    /Watch::named\("ws:.*", key, "visits"\)\.args\(serde_json/,
  );
  assert.ok(
    rust("subscribe", { topic: '"\u202e\b', since: 5 }).includes('.topic("\\"\\u{202e}\\u{8}").since(5).start()'),
  );
  const proto = snippets("play", JSON.parse('{"args":{"__proto__":1}}'), url, circle)[1]?.code ?? "";
  assert.ok(proto.includes('{ ["__proto__"]: 1 }'));
});

test("a subscription that is lost with its connection can't be ended", async () => {
  const page = await open(owner, "api/watch");
  await page.getByLabel(/^script/).fill("1");
  await callIt(page);
  const end = called(page).getByRole("button", { name: "Unsubscribe" });
  await end.waitFor();
  for (const [, profile] of await Promise.all(pages.values())) profile.expected = /WebSocket|Failed to load|ERR_/;
  await server.kill();
  await end.waitFor({ state: "detached" });
  await server.restart();
});
