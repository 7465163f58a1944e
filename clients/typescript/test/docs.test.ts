/** The examples of docs/CLIENTS.md, run as they stand there; but for the port, and the circle in the page. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { freshProfile, PageServer, startBrowser } from "./harness/browser.js";
import { binary, environment, eventually, TestServer } from "./harness/server.js";

const guide = readFileSync("../../docs/CLIENTS.md", "utf8");

/** Returns the example in a language under a heading; the first one is at the top. */
function example(language: string, heading = ""): string {
  const section = heading && guide.slice(guide.indexOf(`\n## ${heading}\n`) + 1);
  const found = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "ms").exec(section || guide);
  assert.ok(found, `there is no example in ${language} under "${heading}"`);
  return (found[1] ?? "").replaceAll("127.0.0.1:8080", `127.0.0.1:${server.port}`);
}

const folder = mkdtempSync(join(tmpdir(), "circled-docs-"));
const programs = join(folder, "bin");
let pages: PageServer;
let server: TestServer;

/** Runs a program in the folder of the examples, with `circled` and this package's own tools. Returns what it prints. */
function run(program: string, args: string[], variables: Record<string, string> = {}): string {
  const PATH = [programs, resolve("node_modules/.bin"), process.env.PATH].join(delimiter);
  const env = { ...environment(), PATH, ...variables };
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, env, encoding: "utf8", timeout: 60_000 });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

let circle: { CIRCLE: string; URL: string };

before(async () => {
  pages = await PageServer.start();
  server = await TestServer.start({ server: `allowed_origins = ["${pages.origin}", "http://127.0.0.1:8080"]` });
  mkdirSync(programs);
  symlinkSync(binary(), join(programs, "circled"));
  const printed = run("bash", ["-euc", `${example("sh")}\necho "$CIRCLE"`]);
  const CIRCLE = printed.trim().split("\n").at(-1) ?? "";
  circle = { CIRCLE, URL: `${server.origin}/${CIRCLE}` };
});

after(async () => {
  await pages?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true });
});

/** Returns how often the circle was visited. */
function visits(): number {
  return Number(run("circled", ["call", circle.URL, "visits", "--key", "me.key"]));
}

test("the package's README has the same page, and its other examples compile", () => {
  const readme = readFileSync("README.md", "utf8");
  const page = /^```html\n.*?^```$/ms;
  assert.equal(page.exec(readme)?.[0], page.exec(guide)?.[0]);
  const examples = [...readme.matchAll(/^```tsx?\n(.*?)^```$/gms)].map(([, code]) => code ?? "");
  assert.ok(examples.length >= 4);
  mkdirSync("build/readme", { recursive: true });
  const files = examples.map((code, at) => {
    writeFileSync(`build/readme/${at}.tsx`, code);
    return `build/readme/${at}.tsx`;
  });
  const flags =
    "--noEmit --ignoreConfig --strict --skipLibCheck --module nodenext --target es2022 --jsx react-jsx".split(" ");
  const { status, stdout } = spawnSync("node_modules/.bin/tsc", [...flags, ...files], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("the page logs in with MetaMask and shows a live value", async () => {
  const page = example("html", "A web page");
  assert.ok(page.split("\n").length <= 31, "it has more than 30 lines");
  pages.pages["/"] = page.replace(/(ws:.*\/)02\.\.\./, `$1${circle.CIRCLE}`);
  assert.ok(pages.pages["/"].includes(circle.URL));
  const browser = await startBrowser();
  try {
    const { context, prompts } = await freshProfile(browser, `0x${"a1".repeat(32)}`);
    const tab = await context.newPage();
    const shown = (what: string) => tab.locator(what).textContent();
    await tab.goto(pages.origin);
    await tab.click("#login");
    const before = visits();
    await eventually("the value", async () => (await shown("#visits")) === String(before));
    await tab.click("#visit");
    await eventually("the new value", async () => (await shown("#visits")) === String(before + 1));
    assert.equal(prompts.length, 1);
    await tab.reload();
    await eventually("the value again", async () => (await shown("#visits")) === String(before + 1));
    assert.equal(await shown("#status"), "live");
    assert.equal(prompts.length, 1);
  } finally {
    await browser.close();
  }
});

test("the program for Node calls and watches", () => {
  mkdirSync(join(folder, "node_modules/@circled"), { recursive: true });
  symlinkSync(resolve("."), join(folder, "node_modules/@circled/client"));
  // Node 20 has no WebSocket of its own, as the example says.
  const hasOwn = "WebSocket" in globalThis;
  const imports = hasOwn
    ? ""
    : `import { WebSocket } from ${JSON.stringify(resolve("node_modules/ws/wrapper.mjs"))};\n`;
  writeFileSync(join(folder, "example.mjs"), imports + example("js", "Node"));
  const before = visits();
  assert.equal(run(process.execPath, ["example.mjs"], circle), `${before + 1} visits\n`);
});

test("the program in Python logs in and calls, and signs no text of another server", async (t) => {
  const pip = spawnSync("python3", ["-m", "pip", "--version"]);
  assert.equal(pip.status, 0, "there is no python3 with pip: .ci/node gets it");
  const packages = resolve("node_modules/.cache/python");
  const wanted = ["websockets==17.4", "cryptography==50.0.2"];
  if (!existsSync(packages)) run("python3", ["-m", "pip", "install", "--quiet", "--target", packages, ...wanted]);
  writeFileSync(join(folder, "example.py"), example("python", "Python"));
  const before = visits();
  const variables = { ...circle, PYTHONPATH: packages };
  assert.equal(run("python3", ["example.py"], variables), `${before + 1} visits\n`);
  // `-O` leaves out what is only asserted.
  const other = await TestServer.start({ server: 'public_url = "wss://circles.example.org"' });
  t.after(() => other.stop());
  const elsewhere = { ...variables, URL: `${other.origin}/${circle.CIRCLE}` };
  assert.throws(() => run("python3", ["-O", "example.py"], elsewhere), /ValueError: not signed/);
});

test("wscat and curl show what the guide says", () => {
  // As in a terminal, where the input goes on: wscat ends with it.
  const wscat = run("bash", ["-euc", `exec < <(sleep 5 2> /dev/null)\n${example("sh", "The shell")}`], circle);
  const { result } = JSON.parse(wscat);
  assert.deepEqual([result.authenticated, result.circle], [false, circle.CIRCLE]);
  const handshake = guide.slice(guide.indexOf("curl shows"));
  const [, curl = ""] = /```sh\n(.*?)```/s.exec(handshake) ?? [];
  const at = curl.replaceAll("http://127.0.0.1:8080/", `http://127.0.0.1:${server.port}/`);
  assert.match(run("bash", ["-euc", at], circle), /^HTTP\/1.1 101 /);
  assert.match(
    run("bash", ["-euc", at.replace("Origin: http://127", "Origin: http://128")], circle),
    /^HTTP\/1.1 403 /,
  );
});
