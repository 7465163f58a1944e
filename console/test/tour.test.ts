/** The way of somebody new, by the console alone: from no circle to a webhook's value, live. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { Profile, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { ConsoleServer, STRIPE_SECRET } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start()]);
});
after(stopAll);

/** The field is `amount`. An event may run again, by itself and when it is redelivered: it is kept once. */
const BROKEN = 'let paid = EVENT.payload.data.object.amout;\nstore.set("paid/" + EVENT.id, paid + 0);\n';
const QUERY = '"payments: " + store.count("paid/")';

test("a circle is made, a webhook fails, its script is mended, it is redelivered, its value is live", async () => {
  const profile = await Profile.open(browser, server);
  const page = await profile.visit();
  const button = (name: string) => page.getByRole("button", { name, exact: true });
  const link = (name: string) => page.getByRole("link", { name, exact: true });
  await button("Make a circle").click();

  await button("Write a script").click();
  await page.getByRole("radio", { name: /^Stripe webhook/ }).check();
  await button("Open in the editor").click();
  const write = async (source: string) => {
    await page.locator(".workbench .cm-content").click();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.insertText(source);
    await page.getByText("It compiles", { exact: true }).waitFor();
    await page.keyboard.press("Control+s");
    await page.getByText("saved", { exact: true }).first().waitFor();
  };
  await write(BROKEN);

  await link("Overview").click();
  await button("Send a test webhook").click();
  const form = page.getByRole("form", { name: "Send a test webhook" });
  await form.getByLabel("Secret", { exact: true }).fill(STRIPE_SECRET);
  await form.getByRole("button", { name: "Send", exact: true }).click();
  const answer = page.getByRole("status", { name: "The answer" });
  await answer.getByText("The script has failed").waitFor();

  // What has failed is found on the overview.
  await link("Overview").click();
  const attention = page.getByRole("region", { name: "Needs attention" });
  await attention.getByText("1 will be tried again").waitFor();
  await attention.getByRole("link", { name: "stripe" }).click();
  await page.getByRole("grid", { name: "Deliveries" }).getByRole("row").nth(1).click();
  const delivery = page.getByRole("article", { name: "Delivery" });
  const address = page.url();
  await delivery.getByRole("link", { name: /^Mend on_stripe at line 2/ }).click();
  await write(BROKEN.replace("amout", "amount"));
  await page.goto(address);
  await delivery.getByRole("button", { name: "Redeliver" }).click();
  await delivery.getByText("finished").waitFor();

  await link("Live").click();
  await page.getByRole("link", { name: "Queries" }).click();
  await page.getByLabel("Source, in Rhai").fill(QUERY);
  await button("Watch").click();
  const query = page.getByRole("region", { name: `Query ${QUERY}` });
  await query.getByText("payments: 1").waitFor();
  await query.getByText("live").waitFor();

  // Another event, from another page of the same browser.
  const other = await profile.visit(new URL(address).hash.replace(/deliveries.*/, "deliveries/test?provider=stripe"));
  await form.first().waitFor({ state: "detached" });
  const otherForm = other.getByRole("form", { name: "Send a test webhook" });
  await otherForm.getByLabel("Secret", { exact: true }).fill(STRIPE_SECRET);
  await otherForm.getByRole("button", { name: "Send", exact: true }).click();
  await query.getByText("payments: 2").waitFor();
  assert.equal(await query.getByText("1 change").count(), 1);
  await profile.close();
});
