/** The pages of scripts: the editor, versions, runs. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Circle } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import type { Browser, Page } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
import { ConsoleServer, eventually } from "./harness/server.js";

let browser: Browser;
let server: ConsoleServer;

before(async () => {
  [browser, server] = await Promise.all([startBrowser(), ConsoleServer.start()]);
});
after(async () => {
  await Promise.all([browser?.close(), server?.stop()]);
});

/** A circle of its own with some scripts, its owner's connection, and the console as its owner or as a member. */
async function open(
  sources: Record<string, string> = {},
  { at = "scripts", member, keep = false }: { at?: string; member?: SecretKey; keep?: boolean } = {},
): Promise<{ key: SecretKey; circle: Circle; profile: Profile; page: Page }> {
  const key = SecretKey.generate();
  const circle = await server.connect(key.pubkey, key);
  for (const [name, source] of Object.entries(sources)) await circle.putScript({ name, source });
  if (member) await circle.addMember({ pubkey: member.pubkey });
  const profile = await Profile.open(browser, server);
  const page = await profile.logIn(key.pubkey, member ?? key, { at, keep });
  return { key, circle, profile, page };
}

const editor = (page: Page) => page.locator(".workbench .cm-content");
const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
const shows = (page: Page, text: string | RegExp) => page.getByText(text, { exact: true }).first().waitFor();

/** Replaces the text in the editor, as somebody who pastes. */
async function type(page: Page, text: string): Promise<void> {
  await editor(page).click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.insertText(text);
}

test("an owner makes a script from a template, sees its fault while typing, saves and runs it", async () => {
  const { circle, profile, page } = await open();
  await page.getByRole("heading", { name: "No scripts yet" }).waitFor();
  await look(page, "scripts-empty");

  await button(page, "New script").click();
  await page.getByRole("radio", { name: /^Counter/ }).check();
  await look(page, "scripts-new");
  await button(page, "Open in the editor").click();
  await shows(page, "It compiles");
  await shows(page, "not saved yet");

  await type(page, 'let visits = store.incr("visits", 1);\nlet broken = ;\nvisits\n');
  const fault = page.getByRole("button", { name: /^Line 2, column 14: Unexpected/ });
  await fault.waitFor();
  await page.locator(".cm-lintRange-error").waitFor();
  await fault.click();
  assert.equal(await page.evaluate(() => document.activeElement?.className), "code-host", "the editor has the focus");

  const good = [
    'let visits = store.incr("visits", ARGS.by);',
    `print(\`now \${visits}\`);`,
    'emit("visits", visits);',
    "#{ visits: visits, big: 9007199254740993 }",
  ];
  await type(page, good.join("\n"));
  await shows(page, "It compiles");
  await page.keyboard.press("Control+s");
  await shows(page, "saved");
  assert.equal((await circle.listScripts()).scripts[0]?.name, "visit");

  const args = page.getByLabel("ARGS, as JSON");
  await args.fill('{"by": ');
  assert.equal(await button(page, "Run").getAttribute("title"), "ARGS are no JSON");
  await page.keyboard.press("Control+Enter");
  await args.fill('{"by": 2}');
  await page.keyboard.press("Control+Enter");
  const result = page.getByRole("region", { name: "Result" });
  await result.getByText("9007199254740993").waitFor();
  await result.getByText("now 2").waitFor();
  await result.locator(".effects", { hasText: "getvisits" }).waitFor();
  await result.locator(".effects", { hasText: "setvisits" }).waitFor();
  await result.locator(".effects", { hasText: "emitvisits" }).waitFor();
  await look(page, "scripts-run");

  await args.fill('{"by": "x"}');
  await button(page, "Run").click();
  await result.getByRole("button", { name: "Go to line 1" }).click();
  assert.equal(
    (await circle.play('store.get("visits")')).value,
    2,
    "neither bad ARGS nor the failed run has changed it",
  );
  await profile.close();
});

test("versions are compared, run and put back; a rule is set; a script is deleted by its name", async () => {
  const { circle, profile, page } = await open({ greet: '// first\nlet word = "Hi";\nword\n' });
  await circle.putScript({ name: "greet", source: '// second\nlet word = "Hello";\nword\n' });
  await page.getByRole("link", { name: "greet" }).waitFor();
  await circle.putScript({ name: "another", source: "1" });
  await page.getByRole("link", { name: "another" }).waitFor();
  await circle.deleteScript({ name: "another" });
  await page.getByRole("link", { name: "another" }).waitFor({ state: "detached" });
  await page.getByRole("grid", { name: "Scripts" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Versions (2)" }).click();
  await page.locator(".compare .cm-changedLine").first().waitFor();
  await look(page, "scripts-versions");

  const [, first] = (await circle.getScript({ name: "greet" })).versions;
  await page.locator(".version-list a").nth(1).click();
  await button(page, "Run it…").click();
  await button(page, "Run").click();
  await page.getByRole("region", { name: "Result" }).getByText("Hi", { exact: true }).waitFor();

  await page.goBack();
  await button(page, "Put this version back").click();
  await eventually(
    "the old version",
    async () => (await circle.getScript({ name: "greet" })).version === first?.version,
  );

  await page.getByRole("link", { name: "Rule and deletion" }).click();
  await page.getByLabel("May call this script").selectOption("member");
  await button(page, "Set the rule").click();
  await eventually("the rule", async () => (await circle.getScript({ name: "greet" })).call === "member");
  await look(page, "scripts-rule");

  await button(page, "Delete this script…").click();
  assert.ok(await button(page, "Delete").isDisabled());
  await page.getByLabel("Name", { exact: true }).fill("greet");
  await button(page, "Delete").click();
  await page.getByRole("heading", { name: "No scripts yet" }).waitFor();
  assert.deepEqual((await circle.listScripts()).scripts, []);
  await profile.close();
});

test("of two who edit, one chooses; a text that isn't saved survives a reload and a lost connection", async () => {
  const { key, circle, profile, page } = await open({ shared: "1\n" }, { at: "scripts/shared", keep: true });
  profile.expected = /WebSocket connection/;
  await shows(page, "It compiles");
  await type(page, "2 // mine\n");
  await shows(page, "unsaved changes");

  const asked: string[] = [];
  page.on("dialog", async (dialog) => {
    asked.push(dialog.type());
    await dialog.accept();
  });
  await page.reload();
  await shows(page, "unsaved changes");
  assert.deepEqual(asked, ["beforeunload"], "leaving asks");
  await editor(page).getByText("// mine").waitFor();
  await page.getByRole("main").getByRole("link", { name: "Scripts" }).click();
  await page.getByRole("row", { name: "shared unsaved" }).waitFor();
  await page.getByLabel("Search scripts").fill("nothing of that");
  await page.getByText("No script has “nothing of that” in its name.").waitFor();
  assert.match(page.url(), /\?q=nothing/);
  await page.getByLabel("Search scripts").fill("SHA");
  await page.getByRole("link", { name: "shared" }).click();
  await editor(page).getByText("// mine").waitFor();

  await circle.putScript({ name: "shared", source: "3 // theirs\n" });
  await button(page, "See both").click();
  await button(page, "Go on editing").click();
  await page.keyboard.press("Control+s");
  await page.getByRole("dialog", { name: "Two versions" }).waitFor();
  await page.locator(".compare .cm-changedLine").first().waitFor();
  await look(page, "scripts-conflict");
  await button(page, "Save mine over it").click();
  await shows(page, "saved");
  assert.equal((await circle.getScript({ name: "shared" })).source, "2 // mine\n");

  await server.kill();
  await type(page, "4 // while it was away\n");
  await server.restart();
  await shows(page, "It compiles");
  await page.keyboard.press("Control+s");
  await shows(page, "saved");
  const again = await server.connect(key.pubkey, key);
  assert.equal((await again.getScript({ name: "shared" })).source, "4 // while it was away\n");

  await again.putScript({ name: "shared", source: "5 // seen at once\n" });
  await editor(page).getByText("// seen at once").waitFor();
  await type(page, "6 // of one that is gone\n");
  await again.deleteScript({ name: "shared" });
  await eventually("the script that is made anew", async () => {
    await page.keyboard.press("Control+s");
    return (await again.listScripts()).scripts.length === 1;
  });
  await shows(page, "saved");

  await profile.close();
});

test("a member and a guest run scripts, and are told why they can't do more", async () => {
  const member = SecretKey.generate();
  const { key, profile, page } = await open({ hello: '"Hi, " + CALLER_ROLE' }, { member });
  const guest = await Profile.open(browser, server);
  const other = await guest.logIn(key.pubkey, SecretKey.generate(), { at: "scripts" });
  await page.getByRole("link", { name: "hello" }).waitFor();
  await look(page, "scripts-member");
  for (const [theirs, role] of [
    [page, "member"],
    [other, "guest"],
  ] as const) {
    assert.match((await button(theirs, "New script").getAttribute("title")) ?? "", /rule “manage” doesn't permit/);
    await theirs.getByRole("link", { name: "hello" }).click();
    await theirs.getByRole("heading", { name: "Its source is not for you to see" }).waitFor();
    await button(theirs, "Run").click();
    await theirs.getByRole("region", { name: "Result" }).getByText(`Hi, ${role}`).waitFor();
  }
  await go(other, `#/${key.pubkey}/scripts/-scratch`);
  await editor(other).waitFor();
  await type(other, "let a = ;");
  await other.keyboard.press("Control+Enter");
  await other.getByRole("button", { name: /^Line 1, column 9/ }).waitFor();
  await type(
    other,
    `/* a /* nested */ comment */ let text = #"raw "text""#;\n\`\${text} and \${1 + \`\${2}\`.len()}\`\n`,
  );
  await other.keyboard.press("Control+Enter");
  await other.getByRole("region", { name: "Result" }).getByText('raw \\"text\\" and 2').waitFor();
  await look(other, "scripts-scratch");
  await Promise.all([profile.close(), guest.close()]);
});

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
