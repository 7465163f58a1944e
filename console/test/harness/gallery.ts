/** Takes the pictures of docs/console: a club's circle, as its owner sees it. `npm run gallery`. */

import { createHmac } from "node:crypto";
import { mkdirSync, statSync } from "node:fs";
import type { Circle } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Page } from "playwright-core";
import { go, Profile, startBrowser } from "./browser.js";
import { ConsoleServer, eventually, STRIPE_SECRET } from "./server.js";

const FOLDER = "../docs/console";
/** So large that text can be read, and that a picture has less than 100 kB. */
const SIZE = { width: 1120, height: 700 };
const BOOK = `// Books a court: ARGS is {"court": 1, "hour": "2026-12-01T18"}.
require("member");
let key = \`bookings/\${ARGS.hour}/\${ARGS.court}\`;
if store.get(key) != () {
    throw \`court \${ARGS.court} is taken at \${ARGS.hour}\`
}
store.set(key, #{ by: CALLER_ID, at: now() });
let total = store.incr("bookings/total", 1);
print(\`booking number \${total}\`);
emit("booking.made", #{ court: ARGS.court, hour: ARGS.hour });
#{ booked: key, total: total }
`;
const ON_STRIPE = `// Keeps what members have paid.
let paid = EVENT.payload.data.object;
let member = store.get(\`members/\${paid.metadata.member}\`);
store.set(\`payments/\${EVENT.id}\`, #{ member: member.name, amount: paid.amount, currency: paid.currency });
store.incr("payments/sum", paid.amount);
emit("payment.received", #{ member: member.name, amount: paid.amount });
`;
const NAMES = ["Ada", "Bilal", "Chiara", "Dana", "Emil", "Fatima", "Goran", "Hanna", "Ines", "Jonas"];

/** Sends what Stripe would: a payment of a member. */
async function pay(server: ConsoleServer, pk: string, n: number, member: string): Promise<void> {
  const object = {
    id: `pi_${n}`,
    object: "payment_intent",
    amount: 1500 + 250 * (n % 5),
    currency: "eur",
    metadata: { member },
  };
  const event = { id: `evt_3Pq8${1000 + n}`, object: "event", type: "payment_intent.succeeded", data: { object } };
  const body = JSON.stringify(event);
  const at = Math.floor(Date.now() / 1000);
  const signature = createHmac("sha256", STRIPE_SECRET).update(`${at}.${body}`).digest("hex");
  const headers = { "content-type": "application/json", "stripe-signature": `t=${at},v1=${signature}` };
  await fetch(server.webhooks("stripe", pk), { method: "POST", headers, body });
}

/** Fills the circle. */
async function fill(server: ConsoleServer, circle: Circle): Promise<void> {
  await circle.putScript({ name: "book", source: BOOK.replace("is taken at", "isn't free at") });
  await circle.putScript({ name: "book", source: BOOK });
  await circle.putScript({ name: "on_stripe", source: ON_STRIPE });
  await circle.putScript({ name: "reports/week", source: '// The sum of the week.\nstore.get("payments/sum") ?? 0' });
  await circle.putScript({
    name: "free_courts",
    source: 'let all = [1, 2, 3, 4];\nall.len() - store.count("bookings/" + ARGS.hour + "/")',
  });
  for (const [n, name] of NAMES.entries()) {
    const since = `2026-0${1 + (n % 9)}-12`;
    await circle.play('store.set("members/" + ARGS.id, ARGS.value)', {
      id: `m${n}`,
      value: { name, since, level: 1 + (n % 4) },
    });
    if (n < 4) await circle.addMember({ pubkey: SecretKey.generate().pubkey });
  }
  for (let n = 0; n < 24; n++)
    await circle.call("book", { court: 1 + (n % 4), hour: `2026-12-0${1 + (n % 3)}T${10 + (n % 12)}` }).catch(() => {});
  for (let n = 0; n < 14; n++) await pay(server, circle.publicKey, n, `m${n % NAMES.length}`);
  for (const n of [14, 15, 16]) await pay(server, circle.publicKey, n, `x${n}`);
  for (let n = 0; n < 6; n++) await circle.submitJob({ name: "reports/week" });
}

async function main(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const settings = "[dispatch.durable]\nmax_tries = 1\n";
  const [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start({ settings })]);
  const key = SecretKey.fromHex("c1".repeat(32));
  const circle = await server.connect(key.pubkey, key);
  const profile = await Profile.open(browser, server);
  const shoot = async (page: Page, name: string) => {
    // Lines of a list are there once their times are.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    const path = `${FOLDER}/${name}.png`;
    await page.screenshot({ path });
    process.stdout.write(`${path} ${Math.round(statSync(path).size / 1024)} KiB\n`);
  };
  try {
    const login = await profile.visit();
    await login.setViewportSize(SIZE);
    await login.getByRole("heading", { name: "Make a circle" }).waitFor();
    await shoot(login, "login");
    await fill(server, circle);
    const page = await profile.logIn(key.pubkey, key);
    await page.setViewportSize(SIZE);
    const at = (path: string) => go(page, `#/${key.pubkey}/${path}`);

    // A minute and a half of a busy club.
    const end = Date.now() + 95_000;
    for (let n = 100; Date.now() < end; n++) {
      const busy = 6 + Math.round(4 * Math.sin(n / 9)) + (n % 4);
      const calls = Array.from({ length: busy }, (_, i) =>
        circle.call("free_courts", { hour: `2026-12-01T${10 + (i % 12)}` }),
      );
      await Promise.all([...calls, ...(n % 3 === 0 ? [pay(server, key.pubkey, n, `m${n % NAMES.length}`)] : [])]);
      if (n % 17 === 0) await circle.call("book", { court: 1, hour: "2026-12-01T10" }).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 350));
    }
    await shoot(page, "overview");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.locator("html[data-theme=dark]").waitFor();
    await shoot(page, "overview-dark");
    await page.emulateMedia({ colorScheme: "light" });
    await page.locator("html[data-theme=light]").waitFor();
    await page.setViewportSize({ width: 390, height: 780 });
    await shoot(page, "overview-narrow");
    await page.setViewportSize(SIZE);

    await at("store/members%2Fm3");
    await page.getByText("Dana").first().waitFor();
    await shoot(page, "store");

    await at("scripts/book");
    await page.locator(".workbench .cm-content").waitFor();
    await page.getByLabel("ARGS, as JSON").fill('{ "court": 2, "hour": "2026-12-24T18" }');
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page
      .getByRole("region", { name: "Result" })
      .getByText(/booking number/)
      .waitFor();
    await shoot(page, "scripts");

    await at("live");
    for (let n = 0; n < 12; n++) {
      await circle.play("emit(ARGS.topic, ARGS.data)", {
        topic: n % 3 ? "booking.made" : "payment.received",
        data:
          n % 3 ? { court: 1 + (n % 4), hour: `2026-12-0${1 + (n % 6)}T19` } : { member: NAMES[n % 10], amount: 1500 },
      });
    }
    await page.getByText("booking.made").first().waitFor();
    await shoot(page, "live");

    for (let n = 0; n < 3; n++) await circle.submitJob({ name: "reports/week" });
    await circle.submitJob({
      name: "book",
      args: { court: 3, hour: "2026-12-24T18" },
      run_at: new Date(Date.now() + 6 * 3_600_000).toISOString(),
    });
    await at("jobs?kind=all");
    await page.getByRole("grid", { name: "Jobs" }).waitFor();
    await shoot(page, "jobs");

    await at("deliveries?status=dead");
    await page.getByRole("grid", { name: "Deliveries" }).getByRole("row").nth(1).click();
    await page.getByRole("link", { name: /^Mend on_stripe/ }).waitFor();
    await page.getByRole("button", { name: "Show the payload" }).click();
    await page.getByText("payment_intent.succeeded").last().waitFor();
    await shoot(page, "deliveries");

    await at("members");
    await eventually("the members", async () => (await page.getByRole("button", { name: /^Remove/ }).count()) > 3);
    await shoot(page, "members");

    await at("api/usage");
    await page.getByRole("button", { name: "Call", exact: true }).click();
    await page.getByText("last_event").first().waitFor();
    await shoot(page, "api");
  } finally {
    await browser.close();
    await server.stop();
  }
}

await main();
