/** The page of deliveries, and the test webhooks that it sends. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Circle } from "@circled/client";
import { parse, stringify } from "@circled/client/json";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually, STRIPE_SECRET } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

/** Each provider has a secret, but for `standard`. */
const SECRET = "a secret to sign with";
const PRESETS = ["stripe", "github", "shopify", "slack", "idenfy"];
/** A circle in which members may manage. */
const managed = SecretKey.generate();

before(async () => {
  const tables = PRESETS.map((name) => `[webhooks.${name}]\npreset = "${name}"\nsecrets = ["${SECRET}"]`);
  const settings = [
    // A delivery whose script fails is dead at once.
    "[dispatch.durable]\nmax_tries = 1",
    `[[circle]]\nkey = "${managed.pubkey}"\nmanage = "member"`,
    ...tables,
    '[webhooks.svix]\npreset = "standard"\nsecrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]',
  ];
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings: settings.join("\n") })]);
});
after(stopAll);

interface Owned {
  readonly key: SecretKey;
  readonly circle: Circle;
  readonly profile: Profile;
  readonly page: Page;
}

async function owned(at = "deliveries", key = SecretKey.generate()): Promise<Owned> {
  const [circle, profile] = await Promise.all([server.connect(key.pubkey, key), Profile.open(browser, server)]);
  return { key, circle, profile, page: await profile.logIn(key.pubkey, key, { at }) };
}

/** Sends a webhook of GitHub. Returns the answer. */
async function push(
  circle: string,
  body: unknown,
  id: string = crypto.randomUUID(),
): Promise<{ job_id: string; status: string }> {
  const text = stringify(body);
  const signature = createHmac("sha256", SECRET).update(text).digest("hex");
  const headers = {
    "Content-Type": "application/json",
    "X-GitHub-Delivery": id,
    "X-GitHub-Event": "push",
    "X-Hub-Signature-256": `sha256=${signature}`,
  };
  const response = await fetch(server.webhooks("github", circle), { method: "POST", headers, body: text });
  assert.equal(response.status, 200);
  return (await response.json()) as { job_id: string; status: string };
}

/** The name of the character U+0000, at the end. */
const NUL_IS_SHOWN = /gnp\.exe(␀|⟨U\+0000⟩)$/;

const table = (page: Page) => page.getByRole("grid", { name: "Deliveries" });
const detail = (page: Page) => page.getByRole("article", { name: "Delivery" });
const row = (page: Page, text: string) => table(page).getByRole("row").filter({ hasText: text });
const form = (page: Page) => page.getByRole("form", { name: "Send a test webhook" });
const answer = (page: Page) => page.getByRole("status", { name: "The answer" });

async function sendTest(page: Page, secret: string): Promise<void> {
  await form(page).getByLabel("Secret", { exact: true }).fill(secret);
  await form(page).getByRole("button", { name: "Send", exact: true }).click();
}

test("the owner sends a first webhook from the page, and sees what has come", async () => {
  const { key, profile, page } = await owned();
  await page.getByRole("heading", { name: "Nothing has come by webhook yet" }).waitFor();
  await page.getByText(server.webhooks("stripe", key.pubkey)).waitFor();
  await look(page, "deliveries-empty");
  await page.getByRole("button", { name: "Send a test webhook" }).first().click();
  await form(page).getByText(server.webhooks("stripe", key.pubkey)).waitFor();
  await sendTest(page, SECRET);
  await answer(page).getByText("The script has ended well.").waitFor();
  await row(page, "payment_intent.succeeded").getByText("finished").waitFor();
  assert.deepEqual(
    await page.getByLabel("Provider", { exact: true }).first().locator("option").allTextContents(),
    ["Every provider", "stripe"],
    "only what comes is offered",
  );
  await look(page, "deliveries-test");
  await form(page).getByRole("button", { name: "Send", exact: true }).click();
  await answer(page).getByText("duplicate").waitFor();
  await answer(page).getByRole("link", { name: "Open the delivery" }).click();
  await detail(page).getByRole("button", { name: "Show the payload" }).click();
  await detail(page).getByText("1999").waitFor();
  await detail(page).getByText("The circle has no script on_stripe").waitFor();
  await look(page, "deliveries-one");
  await profile.close();
});

test("each preset signs as its provider does", async () => {
  const { profile, page } = await owned("deliveries/test");
  for (const name of PRESETS.slice(1)) {
    await form(page).getByLabel("Provider", { exact: true }).selectOption(name);
    await form(page).getByText(`[webhooks.${name}]`).waitFor();
    await sendTest(page, `  ${SECRET} `);
    await answer(page).getByText("200").waitFor();
  }
  await form(page).getByLabel("Provider", { exact: true }).selectOption("standard");
  await form(page).getByLabel("Name in the settings").fill("svix");
  await sendTest(page, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
  await answer(page).getByText("200").waitFor();
  await eventually("five deliveries", async () => (await table(page).getByRole("row").count()) === 6);
  await profile.close();
});

test("a refused test webhook says why, and how to set the secret", async () => {
  const { profile, page } = await owned("deliveries/test/standard");
  profile.expected = /status of 40[14]/;
  await sendTest(page, "whsec_bm90IGl0");
  await answer(page).getByText("STANDARD_WEBHOOK_SECRET='the secret' circled serve").waitFor();
  await answer(page).getByText('secrets = ["env:STANDARD_WEBHOOK_SECRET"]').waitFor();
  await look(page, "deliveries-not-configured");
  await form(page).getByLabel("Provider", { exact: true }).selectOption("stripe");
  await sendTest(page, STRIPE_SECRET);
  await answer(page).getByText("The server has another secret for stripe").waitFor();
  await profile.close();
});

test("a dead delivery leads to its script, and runs again once that is mended", async () => {
  const { key, circle, profile, page } = await owned();
  const bad = await circle.putScript({
    name: "on_github",
    source: 'print("a push");\nlet branch = EVENT.payload.branch;\nbranch.len()',
  });
  const { job_id } = await push(key.pubkey, { ref: "main" });
  await row(page, "push").getByText("dead").waitFor();
  await row(page, "push").click();
  const mend = detail(page).getByRole("link", { name: "Mend on_github at line 3" });
  const query = `line=3&column=8&version=${bad.version}&from=deliveries%2F${job_id}`;
  assert.equal(await mend.getAttribute("href"), `#/${key.pubkey}/scripts/on_github?${query}`);
  await look(page, "deliveries-dead");
  await circle.putScript({ name: "on_github", source: "EVENT.payload.ref" });
  await detail(page).getByText("It was changed since.").waitFor();
  await detail(page).getByRole("button", { name: "Redeliver" }).click();
  const message = page.locator(".toast", { hasText: "It runs once more" });
  const [toast, main] = await Promise.all([message.boundingBox(), page.getByRole("main").boundingBox()]);
  assert.ok(toast && main && toast.x + toast.width <= main.x, "the message hides nothing of the page");
  await detail(page).getByText("finished").waitFor();
  await detail(page).getByRole("region", { name: "Value" }).getByText('"main"').waitFor();
  await row(page, "finished").waitFor();
  await row(page, "dead").click();
  // Its effects are there already, by the new job.
  await detail(page).getByText("Redelivered: finished").waitFor();
  await detail(page).getByText("Redeliver makes a new job with the newest script; this record stays.").waitFor();
  await look(page, "deliveries-redelivered");
  const [latest] = (await circle.listDeliveries()).deliveries;
  const link = detail(page).getByRole("link", { name: "Redelivered" });
  assert.equal(await link.getAttribute("href"), `#/${key.pubkey}/deliveries/${latest?.job_id}`);
  const dialog = page.getByRole("dialog", { name: "Retry this delivery?" });
  const retry = detail(page).getByRole("button", { name: "Retry", exact: true });
  await retry.click();
  await dialog.getByText("Another job of this event is finished.").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await circle.getJob({ job_id })).status, "dead");
  // All at once asks, too.
  await go(page, `#/${key.pubkey}/jobs?kind=delivery`);
  await page.getByRole("button", { name: "Retry all dead" }).click();
  const all = page.getByRole("dialog", { name: "Retry all that are dead" });
  await all.getByText("1 of the deliveries was redelivered already.").waitFor();
  assert.ok(await all.getByRole("button", { name: "Retry 1" }).isDisabled());
  await all.getByLabel("Retry them nevertheless").check();
  assert.ok(await all.getByRole("button", { name: "Retry 1" }).isEnabled());
  await all.getByRole("button", { name: "Cancel" }).click();
  await go(page, `#/${key.pubkey}/deliveries/${job_id}`);
  await retry.click();
  await dialog.getByRole("button", { name: "Retry anyway" }).click();
  await detail(page).locator(".detail-head").getByText("finished").waitFor();
  await row(page, "dead").waitFor({ state: "detached" });
  await profile.close();
});

test("a script for a provider is made from a template, and runs", async () => {
  const { key, circle, profile, page } = await owned();
  const { job_id } = await push(key.pubkey, { ref: "main" });
  await go(page, `#/${key.pubkey}/deliveries/${job_id}`);
  await detail(page).getByRole("button", { name: "Make on_github from a template" }).click();
  await eventually("the page of the script", () => page.url().includes(`/scripts/on_github`));
  assert.equal((await circle.listScripts()).scripts[0]?.name, "on_github");
  const second = await push(key.pubkey, { ref: "other" });
  assert.equal(second.status, "finished");
  assert.equal((await circle.getJob({ job_id: second.job_id })).name, "on_github");
  await profile.close();
});

test("all deliveries of a filter are redelivered, after a count", async () => {
  const { key, circle, profile, page } = await owned("deliveries?status=dead&provider=github");
  await circle.putScript({ name: "on_github", source: "throw `down`" });
  await Promise.all(Array.from({ length: 12 }, (_, n) => push(key.pubkey, { n })));
  await circle.putScript({ name: "on_github", source: "EVENT.payload.n" });
  await eventually("the dead", async () => (await table(page).getByRole("row").count()) === 13);
  await page.getByRole("button", { name: "Redeliver all" }).click();
  const dialog = page.getByRole("dialog", { name: "Redeliver all" });
  await dialog.getByText("12 deliveries").waitFor();
  await look(page, "deliveries-redeliver-all");
  await dialog.getByRole("button", { name: "Redeliver 12" }).click();
  await dialog.getByText("12 of 12 redelivered.").waitFor();
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await page.getByLabel("Status").selectOption("finished");
  await eventually("the new ones", async () => (await table(page).getByRole("row").count()) === 13);
  await profile.close();
});

test("a payload of a MiB is shown on demand, as a tree, raw and as a file", async () => {
  const { key, profile, page } = await owned();
  const rows = Array.from({ length: 8600 }, (_, n) => ({ n, name: `row ${n}`, text: "x".repeat(80) }));
  const body = { rows, long: "y".repeat(5000), big: 9007199254740993n };
  assert.ok(stringify(body).length > 1_000_000 && stringify(body).length < 1 << 20);
  const { job_id } = await push(key.pubkey, body);
  await go(page, `#/${key.pubkey}/deliveries/${job_id}`);
  await detail(page).getByRole("button", { name: "Show the payload" }).click();
  await detail(page).getByText("9007199254740993").waitFor();
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  assert.ok(nodes < 2000, `the tree has ${nodes} elements`);
  await detail(page).getByRole("button", { name: "rows 8600 items" }).click();
  await detail(page).getByRole("button", { name: "8,500 more" }).waitFor();
  await look(page, "deliveries-large");
  const downloaded = page.waitForEvent("download");
  await detail(page).getByRole("button", { name: "Download the payload" }).click();
  const path = await (await downloaded).path();
  assert.deepEqual(parse(readFileSync(path, "utf8")), parse(stringify(body)));
  await detail(page).getByRole("button", { name: "Raw" }).click();
  const raw = detail(page).getByRole("region", { name: "The payload as JSON" });
  await raw.waitFor();
  await raw.evaluate((element) => element.scrollTo(0, element.scrollHeight));
  assert.equal((await raw.textContent())?.match(/"n":/g)?.length, rows.length);
  // The browser lays out only the blocks that are seen.
  const blocks = await raw
    .locator("pre")
    .evaluateAll((all) =>
      all.map((block) => [getComputedStyle(block).contentVisibility, (block.textContent ?? "").length] as const),
    );
  assert.ok(blocks.every(([visibility, length]) => visibility === "auto" && length <= 20_000));
  await profile.close();
});

test("what a hostile payload says is text", async () => {
  const { key, circle, profile, page } = await owned();
  const evil = '<img src=x onerror="globalThis.pwned=1">\u202egnp.exe\u0000';
  await circle.putScript({ name: "on_github", source: "print(EVENT.payload.evil); throw EVENT.payload.evil" });
  const { job_id } = await push(
    key.pubkey,
    { evil, "\u202e<b>": [-9223372036854775808n] },
    "<b>\u00e9</b>".replace("\u00e9", "e"),
  );
  await go(page, `#/${key.pubkey}/deliveries/${job_id}`);
  const shown = '<img src=x onerror="globalThis.pwned=1">⟨U+202E⟩gnp.exe';
  await detail(page).getByText("runtime error", { exact: true }).waitFor();
  assert.ok((await detail(page).locator(".job-error-message").textContent())?.includes(shown));
  assert.match((await detail(page).getByRole("listitem").first().textContent()) ?? "", NUL_IS_SHOWN);
  await detail(page).getByRole("button", { name: "Show the payload" }).click();
  await detail(page).getByText("⟨U+202E⟩<b>").waitFor();
  await detail(page).getByText("-9223372036854775808").waitFor();
  await look(page, "deliveries-hostile");
  await detail(page).getByRole("button", { name: "Raw" }).click();
  const raw = await detail(page).getByRole("region", { name: "The payload as JSON" }).textContent();
  assert.ok(raw?.includes("⟨U+202E⟩gnp.exe\\u0000"));
  assert.ok(raw?.includes("-9223372036854775808"));
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await page.evaluate(() => "pwned" in globalThis), false);
  await profile.close();
});

test("members and guests are told whose the deliveries are, and can send a test", async () => {
  const key = SecretKey.generate();
  const owner = await server.connect(key.pubkey, key);
  for (const role of ["member", "guest"]) {
    const own = SecretKey.generate();
    if (role === "member") await owner.addMember({ pubkey: own.pubkey });
    const profile = await Profile.open(browser, server);
    const page = await profile.logIn(key.pubkey, own, { at: "deliveries" });
    await page.getByRole("heading", { name: "Deliveries are for those who may manage" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Redeliver all" }).getAttribute("aria-disabled"), "true");
    if (role === "member") await look(page, "deliveries-member");
    await page.getByRole("button", { name: "Send a test webhook" }).click();
    await sendTest(page, SECRET);
    await answer(page).getByText("The script has ended well.").waitFor();
    assert.equal(await answer(page).getByRole("link").count(), 0);
    await profile.close();
  }
});

test("a member who may manage redelivers, but doesn't see payloads", async () => {
  const own = SecretKey.generate();
  const owner = await server.connect(managed.pubkey, managed);
  await owner.addMember({ pubkey: own.pubkey });
  await push(managed.pubkey, { ref: "main" });
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(managed.pubkey, own, { at: "deliveries" });
  await page.getByText("Not live: only the owner is told of deliveries.").waitFor();
  await row(page, "push").click();
  assert.equal(
    await detail(page).getByRole("button", { name: "Show the payload" }).getAttribute("aria-disabled"),
    "true",
  );
  await detail(page).getByRole("button", { name: "Redeliver" }).click();
  await eventually("the second job", async () => (await owner.listDeliveries()).deliveries.length === 2);
  await eventually("its row", async () => (await table(page).getByRole("row").count()) === 3);
  await look(page, "deliveries-manager");
  await profile.close();
});

test("a narrow screen shows a type in full, and a failure isn't green", async () => {
  const { circle, profile, page } = await owned("deliveries/test?provider=stripe");
  await circle.putScript({ name: "on_stripe", source: "throw 1" });
  await sendTest(page, SECRET);
  await answer(page).getByText("failed", { exact: true }).waitFor();
  const border = () => answer(page).evaluate((element) => getComputedStyle(element).borderTopColor);
  const danger = await answer(page)
    .locator(".status")
    .evaluate((element) => getComputedStyle(element).color);
  assert.equal(await border(), danger);
  await page.setViewportSize({ width: 390, height: 780 });
  await go(page, `#/${circle.publicKey}/deliveries`);
  const cell = row(page, "payment_intent.succeeded").getByRole("gridcell").nth(1);
  await cell.waitFor();
  const [seen, whole, width] = await cell.evaluate((element) => {
    const text = element.querySelector("bdi")?.getBoundingClientRect();
    return [element.getBoundingClientRect().bottom, text?.bottom ?? 0, element.scrollWidth - element.clientWidth];
  });
  assert.ok(whole <= seen + 1 && width <= 0, `the text ends at ${whole}, the cell at ${seen}, and ${width} are hidden`);
  await look(page, "deliveries-list");
  await profile.close();
});
