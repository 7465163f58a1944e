/** The page of jobs. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Circle } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, eventually } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  // A job whose script fails is dead at once.
  const settings = "[dispatch.durable]\nmax_tries = 1\n";
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
});
after(stopAll);

/** A circle of its own, with its owner at the page and as a program. */
interface Owned {
  readonly key: SecretKey;
  readonly circle: Circle;
  readonly profile: Profile;
  readonly page: Page;
}

async function owned(at: string): Promise<Owned> {
  const key = SecretKey.generate();
  const [circle, profile] = await Promise.all([server.connect(key.pubkey, key), Profile.open(browser, server)]);
  return { key, circle, profile, page: await profile.logIn(key.pubkey, key, { at }) };
}

const table = (page: Page) => page.getByRole("grid", { name: "Jobs" });
const detail = (page: Page) => page.getByRole("article", { name: "Job" });
const row = (page: Page, text: string) => table(page).getByRole("row").filter({ hasText: text });

/** Waits until a job has come to its end. */
async function ended(circle: Circle, job_id: string): Promise<string> {
  return (await circle.getJob({ job_id, wait: 10_000 })).status;
}

test("the owner submits a job here, and sees those of others come", async () => {
  const { key, circle, profile, page } = await owned("jobs");
  await page.getByRole("heading", { name: "There is no job in this circle yet" }).waitFor();
  await look(page, "jobs-empty");
  await page.getByRole("button", { name: "Submit a job" }).first().click();
  const form = page.getByRole("form", { name: "Submit a job" });
  await form
    .getByLabel("Script", { exact: true })
    .fill('print("at it");\n#{ sum: ARGS.a + ARGS.b, big: 9007199254740993 }');
  await form.getByLabel("Arguments (JSON)").fill('{"a": 40, ');
  await form.getByRole("alert").waitFor();
  await look(page, "jobs-submit");
  await form.getByLabel("Arguments (JSON)").fill('{"a": 40, "b": 2}');
  await form.getByLabel("Idempotency key").fill("the only one");
  await form.getByRole("button", { name: "Submit", exact: true }).click();
  await detail(page).getByText("finished").waitFor();
  const panel = (title: string) => detail(page).getByRole("region", { name: title, exact: true });
  await panel("Value").getByText("9007199254740993").waitFor();
  await panel("Logs (1)").getByText("at it").waitFor();
  await panel("Arguments").getByText("40").waitFor();
  await detail(page).locator("details").getByText('print("at it");').waitFor();
  await row(page, "finished").waitFor();
  await page.getByText("1 job", { exact: true }).waitFor();
  const guest = await server.connect(key.pubkey, SecretKey.generate());
  await circle.putScript({ name: "later", source: "1" });
  const { job_id } = await guest.submitJob({ name: "later", run_at: new Date(Date.now() + 3_600_000).toISOString() });
  await row(page, "later").getByText("pending").waitFor();
  await page.getByText("2 jobs", { exact: true }).waitFor();
  await row(page, "later").click();
  await detail(page).getByRole("button", { name: "Stop" }).click();
  await detail(page).getByText("cancelled").waitFor();
  await row(page, "later").getByText("cancelled").waitFor();
  assert.equal((await circle.getJob({ job_id })).status, "cancelled");
  await profile.close();
});

test("a dead job says where its script has failed, and runs again once that is mended", async () => {
  const { key, circle, profile, page } = await owned("jobs");
  const bad = await circle.putScript({
    name: "lib/half",
    source: 'let x = ARGS.x;\nlet y = 0;\nprint("half of " + x);\nx / y\n',
  });
  const { job_id } = await circle.submitJob({ name: "lib/half", args: { x: 84 } });
  assert.equal(await ended(circle, job_id), "dead");
  await row(page, "Division by zero").click();
  const place = detail(page).getByRole("link", { name: "lib/half, line 4, column 3" });
  const version = `line=4&column=3&version=${bad.version}&from=jobs%2F${job_id}`;
  assert.equal(await place.getAttribute("href"), `#/${key.pubkey}/scripts/lib%2Fhalf?${version}`);
  await detail(page).getByText("x / y").waitFor();
  await detail(page).getByText("half of 84").waitFor();
  const mend = detail(page).getByRole("link", { name: "Mend lib/half at line 4" });
  assert.equal(await mend.getAttribute("href"), await place.getAttribute("href"));
  await look(page, "jobs-dead");
  await circle.putScript({ name: "lib/half", source: "ARGS.x / 2" });
  await detail(page).getByRole("button", { name: "Retry with a version" }).click();
  await page.getByLabel("Version", { exact: true }).selectOption(bad.version);
  await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
  await eventually("a second death", async () => (await circle.getJob({ job_id })).status === "dead");
  await detail(page).getByRole("button", { name: "Retry", exact: true }).click();
  await detail(page).getByText("finished").waitFor();
  await detail(page).getByRole("region", { name: "Value" }).getByText("42").waitFor();
  await profile.close();
});

test("what is shown is in the address", async () => {
  const { key, circle, profile, page } = await owned("jobs");
  await circle.putScript({ name: "a", source: "1" });
  await circle.putScript({ name: "b", source: "throw `no`" });
  for (const name of ["a", "b", "a"]) await ended(circle, (await circle.submitJob({ name })).job_id);
  await eventually("three jobs", async () => (await table(page).getByRole("row").count()) === 4);
  await look(page, "jobs-list");
  await page.getByLabel("Status").selectOption("dead");
  await row(page, "finished").first().waitFor({ state: "detached" });
  await row(page, "no").click();
  await detail(page).getByText("dead").waitFor();
  const hash = await page.evaluate(() => location.hash);
  assert.match(hash, /^#\/[0-9a-f]{66}\/jobs\/[0-9a-f-]{36}\?status=dead$/);
  const other = await profile.logIn(key.pubkey, key, { at: hash.split("/").slice(2).join("/") });
  await detail(other).getByText("dead").waitFor();
  assert.equal(await other.getByLabel("Status").inputValue(), "dead");
  assert.equal(await table(other).getByRole("row").count(), 2);
  await go(other, `#/${key.pubkey}/jobs?name=a&kind=submitted`);
  await eventually("both jobs of a", async () => (await table(other).getByRole("row").count()) === 3);
  await profile.close();
});

test("all dead jobs run again, after a count", async () => {
  const { circle, profile, page } = await owned("jobs?status=dead");
  await circle.putScript({ name: "flaky", source: "throw `down`" });
  const submitted = await Promise.all(Array.from({ length: 25 }, () => circle.submitJob({ name: "flaky" })));
  for (const { job_id } of submitted) await ended(circle, job_id);
  await circle.putScript({ name: "flaky", source: "`up`" });
  await page.getByRole("button", { name: "Retry all dead" }).click();
  const dialog = page.getByRole("dialog", { name: "Retry all that are dead" });
  await dialog.getByText("25 of the jobs are dead").waitFor();
  await look(page, "jobs-retry-dead");
  await dialog.getByRole("button", { name: "Retry 25" }).click();
  await dialog.getByText("25 of 25 run again").waitFor();
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await page.getByRole("heading", { name: "No job fits the filter" }).waitFor();
  await profile.close();
});

test("retrying all goes on by pages, and says what stays dead, or that there are more by now", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  /** What the server answers, in turn, with the parameters that it expects. */
  const answers: [params: object, answer: object][] = [
    [{}, { result: { dead: 3, retried: 0, failed: 0, cursor: null } }],
    [{ expect: 3 }, { error: { code: -32009, message: "Conflict", data: { dead: 1200 } } }],
    [{ expect: 1200 }, { result: { dead: 1200, retried: 700, failed: 1, error: "no script", cursor: "here" } }],
    [{ cursor: "here" }, { result: { retried: 499, failed: 0, cursor: null } }],
  ];
  let goesOn = () => {};
  const first = new Promise<void>((resolve) => {
    goesOn = resolve;
  });
  await profile.context.routeWebSocket(/./, (socket) => {
    const behind = socket.connectToServer();
    socket.onMessage(async (text) => {
      const { id, method, params } = JSON.parse(String(text));
      if (method !== "retry_dead") return behind.send(text);
      if (params.cursor) await first;
      const [expected, answer] = answers.shift() ?? [];
      assert.deepEqual(params, expected);
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
    });
  });
  const page = await profile.logIn(key.pubkey, key, { at: "jobs" });
  await page.getByRole("button", { name: "Retry all dead" }).click();
  const dialog = page.getByRole("dialog", { name: "Retry all that are dead" });
  await dialog.getByRole("button", { name: "Retry 3" }).click();
  await dialog.getByText("More are dead by now: 1200. Nothing was retried.").waitFor();
  await dialog.getByRole("button", { name: "Retry 1,200" }).click();
  await dialog.getByText("700 of 1,200 run again, 1 stays dead.").waitFor();
  assert.equal(await dialog.getByRole("progressbar").getAttribute("value"), "701");
  await look(page, "jobs-retrying");
  goesOn();
  await dialog.getByText("1,199 of 1,200 run again, 1 stays dead.").waitFor();
  await dialog.getByText("The first reason: no script").waitFor();
  assert.equal(answers.length, 0);
  await profile.close();
});

test("members and guests see their own jobs, and why they can't do what is the owner's", async () => {
  const key = SecretKey.generate();
  const owner = await server.connect(key.pubkey, key);
  await owner.submitJob({ script: "`the owner's`" });
  for (const role of ["member", "guest"]) {
    const own = SecretKey.generate();
    if (role === "member") await owner.addMember({ pubkey: own.pubkey });
    const profile = await Profile.open(browser, server);
    const page = await profile.logIn(key.pubkey, own, { at: "jobs" });
    await page.getByRole("heading", { name: "There is no job of yours yet" }).waitFor();
    const retry = page.getByRole("button", { name: "Retry all dead" });
    assert.equal(await retry.getAttribute("aria-disabled"), "true");
    await retry.focus();
    await page.getByText(`You are a ${role} here: this is for the owner alone`).waitFor();
    await page.getByRole("button", { name: "Submit a job" }).first().click();
    const form = page.getByRole("form", { name: "Submit a job" });
    await form.getByLabel("Script", { exact: true }).fill("throw `mine`");
    await form.getByRole("button", { name: "Submit", exact: true }).click();
    await row(page, "mine").waitFor();
    assert.equal(await table(page).getByRole("row").count(), 2);
    await detail(page).getByRole("button", { name: "Retry", exact: true }).click();
    await detail(page).getByText("dead").waitFor();
    if (role === "member") await look(page, "jobs-member");
    await profile.close();
  }
});

test("after a lost connection, the list goes on", async () => {
  const { key, circle, profile, page } = await owned("jobs");
  await circle.submitJob({ script: "1" });
  await row(page, "finished").waitFor();
  profile.expected = /WebSocket|Failed to load|ERR_/;
  await server.kill();
  await page.getByText("Connected").waitFor({ state: "hidden" });
  await row(page, "finished").waitFor();
  await server.restart();
  const other = await server.connect(key.pubkey, key);
  await other.submitJob({ script: "throw `again`" });
  await row(page, "again").waitFor();
  await profile.close();
});

test("what a hostile job says is text", async () => {
  const { circle, profile, page } = await owned("jobs");
  const evil = '<img src=x onerror="globalThis.pwned=1">\u202egnp.exe\u200b</script>\u2028';
  const args = { evil, "\u202e<b>key</b>": [evil], huge: 0 };
  const source =
    "print(ARGS.evil);\nif ARGS.huge == 1 { throw ARGS.evil }\n#{ evil: ARGS.evil, least: -9223372036854775808, most: 9223372036854775807 }";
  await ended(circle, (await circle.submitJob({ script: source, args })).job_id);
  await ended(circle, (await circle.submitJob({ script: source, args: { ...args, huge: 1 } })).job_id);
  await row(page, "finished").click();
  const value = detail(page).getByRole("region", { name: "Value" });
  await value.getByText("-9223372036854775808").waitFor();
  await value.getByText("9223372036854775807", { exact: true }).waitFor();
  const shown = '<img src=x onerror="globalThis.pwned=1">⟨U+202E⟩gnp.exe⟨U+200B⟩</script>⟨U+2028⟩';
  assert.equal(await detail(page).getByRole("region", { name: "Logs" }).getByRole("listitem").textContent(), shown);
  await row(page, "dead").click();
  await detail(page).getByText("runtime error", { exact: true }).waitFor();
  assert.ok((await detail(page).locator(".job-error-message").textContent())?.includes(shown));
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await page.evaluate(() => "pwned" in globalThis), false);
  await look(page, "jobs-hostile");
  await profile.close();
});

test("more jobs than a page has are a list that scrolls to its end", async () => {
  const { circle, profile, page } = await owned("overview");
  const run_at = new Date(Date.now() + 86_400_000).toISOString();
  await circle.putScript({ name: "oldest", source: "1" });
  await circle.submitJob({ name: "oldest", run_at });
  await Promise.all(Array.from({ length: 700 }, () => circle.submitJob({ script: "1", run_at })));
  await go(page, `#/${circle.publicKey}/jobs`);
  await row(page, "pending").first().waitFor();
  await table(page).focus();
  await eventually("the oldest job", async () => {
    await page.keyboard.press("End");
    return await row(page, "oldest").count();
  });
  await page.getByText("701 jobs", { exact: true }).waitFor();
  await page.keyboard.press("Enter");
  await detail(page).getByRole("heading", { name: "oldest" }).waitFor();
  await profile.close();
});

test("100,000 jobs are in the page only where they are seen", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const [count, size] = [100_000, 20_000];
  const job = (n: number) => ({
    job_id: n.toString().padStart(12, "0"),
    circle: key.pubkey,
    caller: key.pubkey,
    status: "finished",
    name: `job-${n}`,
    submitted_at: "2026-11-30T00:00:00Z",
    tries: 1,
  });
  await profile.context.routeWebSocket(/./, (socket) => {
    const behind = socket.connectToServer();
    socket.onMessage((text) => {
      const { id, method, params } = JSON.parse(String(text));
      if (method !== "list_jobs" || params.kind !== "submitted") return behind.send(text);
      const last = params.cursor ? Number(params.cursor) - 1 : count;
      const jobs = Array.from({ length: size }, (_, n) => job(last - n));
      const cursor = last > size ? jobs.at(-1)?.job_id : null;
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, result: { jobs, cursor } }));
    });
  });
  const page = await profile.logIn(key.pubkey, key, { at: "jobs" });
  await row(page, "job-100000").waitFor();
  await table(page).focus();
  await eventually("the oldest job", async () => {
    await page.keyboard.press("End");
    return await table(page).getByText("job-1", { exact: true }).count();
  });
  await page.getByText("100,000 jobs", { exact: true }).waitFor();
  const most = await table(page).evaluate(async (element) => {
    let most = 0;
    for (let n = 0; n <= 50; n++) {
      element.scrollTop = (element.scrollHeight * ((n * 37) % 51)) / 50;
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      most = Math.max(most, element.querySelectorAll("[role=row]").length);
    }
    return most;
  });
  assert.ok(most > 10 && most < 60, `${most} rows are in the page`);
  await page.keyboard.press("Home");
  await row(page, "job-100000").waitFor();
  await profile.close();
});
