/** Logging in, and what follows from it. */

import { after, before, test } from "node:test";
import { SecretKey } from "@circled/client/keys";
import type { Browser } from "playwright-core";
import { look, Profile, startBrowser } from "./harness/browser.js";
import { ConsoleServer } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start()]);
});
after(async () => {
  await Promise.all([browser?.close(), server?.stop()]);
});

test("a key file opens a circle", async () => {
  const key = SecretKey.generate();
  const profile = await Profile.open(browser, server);
  const login = await profile.visit();
  await login.getByRole("heading", { name: "Make a circle" }).waitFor();
  await look(login, "login");
  const page = await profile.logIn(key.pubkey, key);
  await page.getByText("owner").first().waitFor();
  await look(page, "overview");
  await profile.close();
});
