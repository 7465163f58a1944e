/** The overview: first steps, activity, usage, what needs attention. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SecretKey } from "@circled/client/keys";
import type { Browser } from "playwright-core";
import { look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  const settings = "[dispatch.durable]\nmax_tries = 1\n";
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
});
after(stopAll);

test("an empty circle says what to do first, until it is done", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, key);
  const steps = page.getByRole("region", { name: "First steps" });
  await steps.getByRole("button", { name: "Write a script" }).waitFor();
  await look(page, "overview-empty");
  await steps.getByRole("button", { name: "Send a test webhook" }).click();
  await page.waitForURL(/#\/[0-9a-f]+\/deliveries\/test\?provider=stripe$/);
  await page.goBack();
  await steps.getByRole("button", { name: "Write a script" }).click();
  await page.waitForURL(/#\/[0-9a-f]+\/scripts\/-new$/);
  const circle = await server.connect(key.pubkey, key);
  await circle.putScript({ name: "hello", source: '"hello"' });
  await circle.submitJob({ name: "hello" });
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("region", { name: "Usage" }).waitFor();
  assert.equal(await steps.count(), 0);
  await profile.close();
});

test("dead jobs are shown by their script as they come, with links to them and the line", async () => {
  const key = SecretKey.generate();
  const circle = await server.connect(key.pubkey, key);
  const name = "reports/daily";
  await circle.putScript({ name, source: '\n  throw "<b>no\u202e such</b>   table"' });
  await circle.play('for n in 0..500 { store.set("k" + n, n) }');
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, key);
  const attention = page.getByRole("region", { name: "Needs attention" });
  await attention.getByText("No job is dead").waitFor();
  for (let n = 0; n < 3; n++) await circle.submitJob({ name, args: { n } });
  await attention.getByText("3 dead").waitFor();
  await attention.getByText("<b>no⟨U+202E⟩ such</b>   table").waitFor();
  const blanks = attention.locator(".failing-why bdi");
  assert.equal(await blanks.evaluate((bdi) => getComputedStyle(bdi).whiteSpace), "break-spaces");
  await page.getByText("500", { exact: true }).waitFor();
  await look(page, "overview");
  const links = ["reports/daily", "The newest", "Its script"].map((text) =>
    attention.getByRole("link", { name: text }),
  );
  const [list, newest, script] = await Promise.all(links.map((link) => link.getAttribute("href")));
  assert.equal(list, `#/${key.pubkey}/jobs?status=dead&name=reports%2Fdaily`);
  assert.match(newest ?? "", /\/jobs\/[0-9a-z-]+$/i);
  assert.match(script ?? "", /\/scripts\/reports%2Fdaily\?line=2&column=\d+$/);
  await profile.close();
});

test("what happens is drawn as it happens", async () => {
  const key = SecretKey.generate();
  const circle = await server.connect(key.pubkey, key);
  await circle.putScript({ name: "fails", source: "throw 1" });
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, key);
  const chart = (title: string) => page.getByRole("img", { name: new RegExp(`^${title}: .* at most (?!0 )`) });
  const nothing = page.getByRole("img", { name: /at most 0 in/ });
  await nothing.nth(2).waitFor();
  // The watch has begun once it has told twice.
  await page.locator(".rate-chart canvas").nth(2).waitFor();
  const happens = async () => {
    await circle.play("1");
    await circle.call("fails").catch(() => {});
    await fetch(server.webhooks("stripe", key.pubkey), { method: "POST", body: "{}" });
    return (await nothing.count()) === 0;
  };
  await eventually("all charts to show something", happens);
  for (const title of ["Runs", "Webhooks", "Errors"]) await chart(title).waitFor();
  await look(page, "overview-activity");
  // Another page has no charts, and back on this one they are there again.
  await page.getByRole("link", { name: "Store", exact: true }).click();
  await page.getByRole("link", { name: "Overview", exact: true }).click();
  await page.locator(".rate-chart canvas").nth(2).waitFor();
  await profile.close();
});

test("while many jobs fail, the page is renewed at most once a second", async () => {
  const key = SecretKey.generate();
  const circle = await server.connect(key.pubkey, key);
  await circle.putScript({ name: "fails", source: "throw 1" });
  const profile = await Profile.open(browser, server);
  const page = await profile.context.newPage();
  let asked = 0;
  page.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => {
      if (String(payload).includes('"list_jobs"')) asked++;
    });
  });
  await profile.logIn(key.pubkey, key, { page });
  await page.getByText("No job is dead").waitFor();
  const before = asked;
  const began = performance.now();
  const dead = page.getByRole("region", { name: "Needs attention" }).getByText(/^\d+ dead$/);
  let submitted = 0;
  // It is shown while they come, however fast.
  while ((await dead.count()) === 0 || submitted < 100) {
    await Promise.all([1, 2, 3, 4].map(() => circle.submitJob({ name: "fails" })));
    submitted += 4;
    assert.ok(submitted < 4000, "it isn't shown");
  }
  const seconds = (performance.now() - began) / 1000;
  const lists = (asked - before) / 4;
  assert.ok(lists <= seconds + 2, `${lists} times in ${seconds} s`);
  await profile.close();
});

test("a member and a guest are told why they don't see the activity", async () => {
  const owner = SecretKey.generate();
  const circle = await server.connect(owner.pubkey, owner);
  for (const role of ["member", "guest"]) {
    const key = SecretKey.generate();
    if (role === "member") await circle.addMember({ pubkey: key.pubkey });
    const profile = await Profile.open(browser, server);
    const page = await profile.logIn(owner.pubkey, key);
    const activity = page.getByRole("region", { name: "Activity" });
    await activity.getByText(`You are a ${role} here: the circle's rule “manage” doesn't permit this`).waitFor();
    await page.getByText("None of your jobs is dead").waitFor();
    assert.equal(await page.getByRole("region", { name: "Usage" }).count(), 0);
    await look(page, `overview-${role}`);
    await profile.close();
  }
});

test("events that the log no longer has are told to whoever has looked before", async () => {
  const small = await ConsoleServer.start({ settings: "[store]\nevent_log = 10\n" });
  const key = SecretKey.generate();
  const circle = await small.connect(key.pubkey, key);
  await circle.play('emit("a", 1)');
  const profile = await Profile.open(browser, small);
  const page = await profile.logIn(key.pubkey, key, { keep: true });
  await page.getByRole("region", { name: "Usage" }).waitFor();
  await circle.play('for n in 0..40 { emit("a", n) }');
  await eventually("the log to be cut", async () => (await circle.usage()).events < 40);
  await page.reload();
  await page.getByText(/Up to \d+ events that came since you have last looked are no longer in the log/).waitFor();
  await profile.close();
  await small.stop();
});
