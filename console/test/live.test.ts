/** The page Live: events and queries, and what each role may see of them. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Circle } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer } from "./harness/server.js";

const HOSTILE = '<b onclick="alert(1)">\u0007\u202eevil';
const LONG = 9223372036854775807n;

let browser: Browser;
let server: ConsoleServer;
const owner = SecretKey.generate();
const member = SecretKey.generate();
const guest = SecretKey.generate();
let circle: Circle;
const pages = new Map<SecretKey, Promise<[Page, Profile]>>();

before(async () => {
  const settings = '[circles]\nplay = "owner"\ncall = "member"\nsubscribe = "member"\n[store]\nevent_log = 50';
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
  circle = await server.connect(owner.pubkey, owner);
  await circle.addMember({ pubkey: member.pubkey });
  await circle.putScript({ name: "visits", source: '#{ visits: store.get("visits") ?? 0, of: ARGS }' });
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
  // Anew, with all that it has kept gone.
  await go(page, `#/${owner.pubkey}/overview`);
  await go(page, `#/${owner.pubkey}/${at}`);
  return page;
}

const events = (page: Page) => page.getByRole("grid", { name: "Events" });
const row = (page: Page, text: string | RegExp) => events(page).getByRole("row").filter({ hasText: text });
const emit = (topic: string, data: unknown) => circle.play("emit(ARGS.topic, ARGS.data)", { topic, data });

test("without events, the page says what to do; the owner emits one and opens it", async () => {
  const page = await open(owner, "live?topic=chat.");
  await page.getByText("No such events yet").waitFor();
  await look(page, "live-empty");
  await page.getByRole("button", { name: "Emit an event" }).last().click();
  const dialog = page.getByRole("dialog", { name: "Emit an event" });
  await dialog.getByLabel("Topic").fill("job.mine");
  await dialog.getByRole("button", { name: "Emit", exact: true }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Topic").fill("chat.new");
  await dialog.getByLabel("Data, as JSON").fill('{ "big": 9223372036854775807 }');
  await dialog.getByRole("button", { name: "Emit", exact: true }).click();
  await row(page, '{"big":9223372036854775807}').click();
  const { last_event } = await circle.usage();
  await page.getByRole("heading", { name: `Event ${last_event}` }).waitFor();
  await page.getByRole("button", { name: "Copy the data" }).waitFor();
  assert.ok(page.url().endsWith(`live?topic=chat.&event=${last_event}`));
  // Without a filter, there is the server's own event, too.
  await page.getByPlaceholder("Topics that begin with…").fill("");
  await row(page, "circle.member_added").waitFor();
});

test("a member follows a topic, pauses, and goes on; a link shows the same", async () => {
  const page = await open(member, "live/events?topic=chat.");
  await row(page, "chat.new").waitFor();
  await emit("other", 1);
  await emit("chat.second", { text: "hello" });
  const { last_event } = await circle.usage();
  await row(page, "chat.second").waitFor();
  assert.equal(await row(page, "other").count(), 0);
  await page.getByRole("button", { name: "Pause" }).click();
  await emit("chat.third", null);
  await page.getByRole("button", { name: "Show 1 new" }).waitFor();
  assert.equal(await row(page, "chat.third").count(), 0);
  await page.getByRole("button", { name: "Show 1 new" }).click();
  await row(page, "chat.third").waitFor();
  await page.getByPlaceholder("Topics that begin with…").fill("oth");
  await row(page, "other").waitFor();
  await row(page, "chat.third").waitFor({ state: "detached" });
  assert.match(page.url(), /topic=oth/);
  const button = page.getByRole("button", { name: "Emit an event" }).first();
  assert.equal(await button.getAttribute("aria-disabled"), "true");
  await open(member, `live/events?event=${last_event}`);
  await page.getByRole("heading", { name: `Event ${last_event}` }).waitFor();
  await page.getByText('"hello"').last().waitFor();
  await look(page, "live-events");
});

test("what the log no longer has is shown as a gap", async () => {
  await circle.play('for n in 0..70 { emit("many." + n, n) }');
  const page = await open(member, "live/events?since=1");
  await row(page, "many.69").waitFor();
  await events(page).focus();
  await page.keyboard.press("End");
  await row(page, "Gap: events up to").waitFor();
  await look(page, "live-gap");
});

test("hostile topics and data are text, and large data is opened on demand", async () => {
  await emit(HOSTILE, { [HOSTILE]: HOSTILE, n: LONG, __proto__: 1 });
  const page = await open(owner, "live/events");
  await row(page, "onclick").first().click();
  await page.getByText("9223372036854775807").last().waitFor();
  const shown = String(await page.locator("body").textContent());
  assert.ok(shown.includes("⟨U+202E⟩") && !shown.includes("\u202e") && !shown.includes("\u0007"));
  assert.equal(await page.locator("b[onclick]").count(), 0);
  await look(page, "live-hostile");
  await emit("large", "x".repeat(10_000));
  await row(page, "large").click();
  await page.getByText("10,002 characters").waitFor();
  await page.getByRole("button", { name: "Show the data" }).click();
  await page.getByRole("button", { name: /more characters/ }).waitFor();
});

test("several queries are live at once, with their values, errors and commits; a link shows the same", async () => {
  const page = await open(owner, "live/queries");
  await page.getByText("Nothing is watched yet").waitFor();
  await look(page, "live-queries-empty");
  await page.getByRole("button", { name: "Watch how many keys there are" }).click();
  const count = page.getByRole("region", { name: 'Query store.count("")' });
  await count.getByText("live").waitFor();
  await page.getByLabel("Watch", { exact: true }).selectOption("name");
  await page.getByLabel("Name").selectOption("visits");
  await page.getByLabel("ARGS, as JSON").fill('{ "day": ');
  await page.getByRole("form", { name: "Watch a query" }).getByRole("alert").waitFor();
  await page.getByLabel("ARGS, as JSON").fill('{ "day": 9007199254740993 }');
  await page.getByRole("button", { name: "Watch", exact: true }).click();
  const visits = page.getByRole("region", { name: "Query visits" });
  await visits.getByText("9007199254740993").last().waitFor();
  await visits.getByText("0 changes").waitFor();
  await circle.play('store.set("visits", 41)');
  await visits.getByText("41", { exact: true }).waitFor();
  await circle.play('store.set("visits", 42)');
  await visits.getByText("42", { exact: true }).waitFor();
  await visits.getByText("2 changes").waitFor();
  await visits.getByText(/^commit \d+$/).waitFor();
  await visits.getByRole("button", { name: "Earlier values" }).click();
  assert.equal(await visits.getByRole("listitem").count(), 2);
  await page.getByLabel("Watch", { exact: true }).selectOption("script");
  await page.getByLabel("Source, in Rhai").fill('10 / store.get("visits")');
  await page.getByRole("button", { name: "Watch", exact: true }).click();
  const quotient = page.getByRole("region", { name: "Query 10 /" });
  await quotient.getByText("live").waitFor();
  await circle.play('store.set("visits", 0)');
  await quotient.getByText("failed", { exact: true }).waitFor();
  await quotient.getByRole("alert").waitFor();
  await look(page, "live-queries");
  const link = page.url().replace(/^.*#\/[^/]*\//, "");
  await open(owner, link);
  await visits.getByText("9007199254740993").last().waitFor();
  await quotient.getByRole("alert").waitFor();
  await quotient.getByRole("button", { name: "Stop watching" }).click();
  await quotient.waitFor({ state: "detached" });
  assert.equal(await page.getByRole("region", { name: /^Query/ }).count(), 2);
});

test("a link shows the queries that it has, once each, and leaves out what is none", async () => {
  const query = { script: "ARGS", args: "{ }" };
  const wrong = [
    { script: "1", args: "{bad" },
    { script: "1", args: " " },
    { script: 7 },
    { name: "a", args: 1 },
    null,
    3,
  ];
  const link = JSON.stringify([...wrong, query, query, { name: "visits" }, { args: "{ }", script: "ARGS" }]);
  const page = await open(owner, `live/queries?w=${encodeURIComponent(link)}`);
  await page.getByRole("region", { name: "Query visits" }).getByText("live").waitFor();
  await page.getByRole("region", { name: "Query ARGS" }).getByText("live").waitFor();
  assert.equal(await page.getByRole("region", { name: /^Query/ }).count(), 2);
});

test("a member who may call and not play watches named scripts; a guest sees why there is nothing", async () => {
  const page = await open(member, "live/queries");
  assert.equal(await page.getByLabel("Watch", { exact: true }).inputValue(), "name");
  const example = page.getByRole("button", { name: "Watch how many keys there are" });
  assert.equal(await example.getAttribute("aria-disabled"), "true");
  await page.getByLabel("Name").selectOption("visits");
  await page.getByRole("button", { name: "Watch", exact: true }).click();
  await page.getByRole("region", { name: "Query visits" }).getByText("live").waitFor();
  const stranger = await open(guest, "live");
  await stranger.getByText("You may not see events").waitFor();
  await look(stranger, "live-guest");
  await stranger.getByRole("link", { name: "Queries" }).click();
  const watch = stranger.getByRole("button", { name: "Watch", exact: true });
  assert.equal(await watch.getAttribute("aria-disabled"), "true");
});

test("what is shown comes back after the server was gone", async () => {
  const page = await open(member, `live/queries?w=${encodeURIComponent('[{"name":"visits"}]')}`);
  const visits = page.getByRole("region", { name: "Query visits" });
  await visits.getByText("live").waitFor();
  const [, profile] = await (pages.get(member) as Promise<[Page, Profile]>);
  profile.expected = /WebSocket|Failed to load|ERR_/;
  for (const [, other] of await Promise.all(pages.values())) other.expected = profile.expected;
  await server.kill();
  await visits.getByText("stale").waitFor();
  await server.restart();
  await visits.getByText("live").waitFor();
  await circle.play('store.set("visits", 77)');
  await visits.getByText("77", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Events" }).click();
  await emit("back", 1);
  await row(page, "back").waitFor();
});
