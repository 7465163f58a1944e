/** The pages of scripts: templates, versions, runs, rules; as owner, member and guest. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SecretKey } from "@circled/client/keys";
import type { Browser } from "playwright-core";
import { go, look, Profile, startBrowser } from "./harness/browser.js";
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

test("a new script may be emptied, and one that doesn't compile isn't saved, which is said", async () => {
  const { circle, profile, page } = await open({}, { at: "scripts/-new?name=fresh" });
  await page.getByRole("radio", { name: "Hello" }).check();
  await button(page, "Open in the editor").click();
  await shows(page, "not saved yet");
  await type(page, "1");
  await page.keyboard.press("Backspace");
  await page.keyboard.insertText("let x = ");
  await shows(page, "not saved yet");
  await button(page, "Save").click();
  await shows(page, "It isn't saved, because it doesn't compile");
  assert.deepEqual((await circle.listScripts()).scripts, []);
  await type(page, "40 + 2");
  await button(page, "Save").click();
  await shows(page, "saved");
  await eventually("the script", async () => (await circle.listScripts()).scripts.length === 1);
  assert.equal((await circle.getScript({ name: "fresh" })).source, "40 + 2");
  await profile.close();
});

test("who logs out leaves no text behind, and no ARGS", async () => {
  const { key, profile, page } = await open({ shared: "1\n" }, { at: "scripts/shared", keep: true });
  await shows(page, "It compiles");
  await type(page, "2 // mine\n");
  await shows(page, "unsaved changes");
  await page.getByLabel("ARGS, as JSON").fill('"mine"');
  const kept = () => page.evaluate(() => JSON.stringify({ ...sessionStorage }));
  assert.match(await kept(), /2 \/\/ mine/);
  await button(page, "Log out").click();
  await shows(page, "Scripts that aren't saved are lost.");
  await page.getByRole("dialog", { name: "Log out?" }).getByRole("button", { name: "Log out", exact: true }).click();
  await page.getByRole("heading", { name: "Open a circle" }).waitFor();
  assert.doesNotMatch(await kept(), /mine/);
  page.on("dialog", () => profile.faults.push("leaving asks"));
  await page.reload();
  await page.getByRole("button", { name: /^Open 0/ }).click();
  await page.getByText("Connected").waitFor();
  await go(page, `#/${key.pubkey}/scripts/shared`);
  await shows(page, "It compiles");
  assert.equal(await page.getByLabel("ARGS, as JSON").inputValue(), "");
  await profile.close();
});

test("of two who edit, one chooses; a text that isn't saved survives a reload and a lost connection", async () => {
  const { key, circle, profile, page } = await open({ shared: "1\n" }, { at: "scripts/shared", keep: true });
  profile.expected = /WebSocket connection|Failed to load resource/;
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
