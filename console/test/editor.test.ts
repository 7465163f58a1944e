/** The editor of scripts: hostile texts, the keyboard, links to a line. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { go, look, startBrowser } from "./harness/browser.js";
import { stopAll } from "./harness/end.js";
import { button, editor, type OpenOptions, openScripts, shows, type } from "./harness/scripts.js";
import { ConsoleServer, eventually } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start()]);
});
after(stopAll);

const open = (sources?: Record<string, string>, options?: OpenOptions) =>
  openScripts([browser, server], sources, options);

test("what is hostile is text", async () => {
  const bomb = "</script><img src=x onerror=alert(1)>\u202e\u0007";
  const source = `// ${bomb}\nprint(ARGS);\nif ARGS == "throw" { throw #{ "${bomb}": 1 } }\n[ARGS, #{ "${bomb}": 9223372036854775807 }]\n`;
  const { circle, profile, page } = await open({ "a/..-_": source }, { at: "scripts/a%2F..-_" });
  await editor(page).getByText("<img src=x onerror=alert(1)>").first().waitFor();
  const hidden = await page.locator(".workbench .cm-specialChar").allTextContents();
  assert.deepEqual(hidden.slice(0, 2), ["U+202E", "U+0007"], "hidden characters are seen");
  const args = page.getByLabel("ARGS, as JSON");
  await args.fill(JSON.stringify(bomb));
  await page.keyboard.press("Control+Enter");
  const result = page.getByRole("region", { name: "Result" });
  await result.getByText("9223372036854775807").waitFor();
  await result
    .locator(".logs")
    .getByText(/^<\/script><img src=x onerror=alert\(1\)>.*U\+202E/)
    .waitFor();
  await args.fill('"throw"');
  await page.keyboard.press("Control+Enter");
  await result.getByRole("heading", { name: "Thrown" }).waitFor();
  await look(page, "scripts-hostile");
  assert.equal(await page.locator("img[src]").count(), 0);

  await circle.putScript({ name: "a/..-_", source: `${source}// ${bomb}` });
  await page.getByRole("main").getByRole("link", { name: "Scripts" }).click();
  await page.getByRole("link", { name: "a/..-_" }).click();
  await page.getByRole("link", { name: "Versions (2)" }).click();
  await page.locator(".compare .cm-changedLine").first().waitFor();
  await profile.close();
});

test("the editor doesn't trap the keyboard", async () => {
  const { profile, page } = await open({}, { at: "scripts/-scratch" });
  await shows(page, "It compiles");
  await type(page, "if true {");
  await page.getByRole("button", { name: /^Line 1, column 10/ }).waitFor();
  await page.keyboard.press("Enter");
  await page.keyboard.type("1");
  const lines = () => editor(page).locator(".cm-line").allTextContents();
  assert.deepEqual(await lines(), ["if true {", "    1"]);
  await page.keyboard.type(";store.pu");
  await page.getByRole("option", { name: /^push/ }).click();
  assert.deepEqual(await lines(), ["if true {", "    1;store.push"]);
  await page.keyboard.type(" // st");
  assert.deepEqual(
    await page.locator(".workbench [role=option]").allTextContents(),
    [],
    "nothing is offered in a comment",
  );
  await page.keyboard.press("Home");
  await page.keyboard.press("Tab");
  assert.deepEqual(await lines(), ["if true {", "        1;store.push // st"]);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  assert.notEqual(await page.evaluate(() => document.activeElement?.className), "code-host", "Tab has left it");
  await profile.close();
});

test("escapes, whole and unfinished, are typed and opened like any other text", async () => {
  const source = '"\\u202E" + "\\U0001F600\\x4A"';
  const { profile, page } = await open({ escapes: source }, { at: "scripts/escapes" });
  await shows(page, "It compiles");
  assert.equal(await editor(page).textContent(), source);
  for (const open of ['"\\u"', '"\\u1"', '"\\x4"']) {
    await type(page, open);
    await page.getByRole("button", { name: /^Line 1, column / }).waitFor();
    assert.equal(await editor(page).textContent(), open);
  }
  await profile.close();
});

test("a script is shown and edited as a plain text where there is no editor", async () => {
  const { circle, key, profile, page } = await open({ a: "1 + 1" });
  profile.expected = /editor\.js|net::ERR_FAILED/;
  const plain = page.locator("textarea.code-plain");
  await page.route("**/editor.js", (route) => route.abort());
  await go(page, `#/${circle.publicKey}/scripts/a`);
  await page.getByText("The editor doesn't work here").waitFor();
  assert.equal(await plain.inputValue(), "1 + 1");
  await page.unroute("**/editor.js");
  await page.route("**/editor.js*", (route) =>
    route.fulfill({
      contentType: "text/javascript",
      body: 'export function createEditor() { throw new Error("no editor") }',
    }),
  );
  await page.reload();
  await profile.logIn(circle.publicKey, key, { at: "scripts/a", page });
  await page.getByText("no editor").waitFor();
  await look(page, "scripts-plain");
  await plain.fill("2 + 2");
  await button(page, "Save").click();
  await shows(page, "saved");
  assert.equal((await circle.getScript({ name: "a" })).source, "2 + 2");
  await profile.close();
});

test("a text that breaks the editor isn't lost", async () => {
  const { profile, page } = await open({ a: "1 + 1" }, { at: "scripts/a" });
  await shows(page, "It compiles");
  await page.evaluate(() => {
    const match = String.prototype.match;
    // biome-ignore lint/suspicious/noExplicitAny: as the language has it
    String.prototype.match = function (this: string, pattern: any) {
      if (this.includes("BOOM")) throw new Error("broken");
      return match.call(this, pattern);
    };
  });
  await type(page, "let BOOM = 1;");
  const plain = page.locator("textarea.code-plain");
  await plain.waitFor();
  assert.equal(await plain.inputValue(), "let BOOM = 1;");
  await plain.fill("let bang = 1;");
  await button(page, "Try again").click();
  await editor(page).getByText("bang").waitFor();
  assert.equal(await editor(page).textContent(), "let bang = 1;");
  await profile.close();
});

test("a link to a line of an older version goes there, and says that there is a newer one", async () => {
  const { circle, profile, page } = await open({ on_stripe: "1;\n2;\nthrow 3\n" });
  const { version } = await circle.getScript({ name: "on_stripe" });
  await circle.putScript({ name: "on_stripe", source: "1;\n\nthrow 4;\n5\n" });
  await go(page, `#/${circle.publicKey}/scripts/on_stripe?line=3&column=1&version=${version}`);
  await page.getByText(`Line 3 is that of version ${version.slice(0, 8)}`).waitFor();
  await page.locator(".cm-activeLine", { hasText: "throw 4" }).waitFor();
  const test = await page.getByRole("link", { name: "Send a test webhook" }).getAttribute("href");
  assert.equal(test, `#/${circle.publicKey}/deliveries/test?provider=stripe`);
  await button(page, "Run").click();
  await page.getByRole("region", { name: "Result" }).getByText("Runtime error: 3").waitFor();
  await look(page, "scripts-hook");
  assert.equal(await page.locator(".cm-lintRange-error").count(), 0, "the fault isn't one of what the editor shows");
  await profile.close();
});

test("a script that has failed is mended from the link of its job, and what is edited runs", async () => {
  const { circle, profile, page } = await open({ half: "let x = 1;\nx / 0\n" });
  const { job_id } = await circle.submitJob({ name: "half" });
  await eventually("the failure", async () => (await circle.getJob({ job_id })).error);
  await go(page, `#/${circle.publicKey}/jobs/${job_id}`);
  await page.getByRole("link", { name: "half, line 2, column 3" }).click();
  // The run's error, at its line
  await page.getByRole("button", { name: /^Line 2, column 3: Division by zero/ }).waitFor();
  assert.equal(await page.locator(".cm-lintRange-error").textContent(), "/");
  await look(page, "scripts-failed");
  const back = page.getByRole("link", { name: "Back to the job: retry it" });
  const result = page.getByRole("region", { name: "Result" });
  const choice = page.locator(".workbench-run").getByLabel("Script", { exact: true });
  const runs = async (value: string, chosen: string) => {
    assert.equal(await choice.inputValue(), chosen);
    await button(page, "Run").click();
    await result.getByText(value, { exact: true }).waitFor();
  };
  const save = async () => {
    await button(page, "Save").click();
    await shows(page, "saved");
  };
  await type(page, "let x = 21;\nx\n");
  await page.locator(".cm-lintRange-error").waitFor({ state: "detached" });
  await runs("21", "text");
  await save();
  await runs("21", "newest");
  await type(page, "22");
  await runs("22", "text");
  await choice.selectOption("newest");
  await runs("21", "newest");
  await save();
  await runs("22", "newest");
  // Somebody else's version, too
  await circle.putScript({ name: "half", source: "23" });
  await editor(page).getByText("23").waitFor();
  await runs("23", "newest");
  await page.getByRole("link", { name: /^Versions/ }).click();
  await page.getByRole("link", { name: "Edit and run" }).click();
  await back.click();
  await page.getByRole("article", { name: "Job" }).waitFor();
  await profile.close();
});
