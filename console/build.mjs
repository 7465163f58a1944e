// Builds dist/, which the server's binary embeds: `node build.mjs`. `--test` builds the tests into build/ instead.
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const SDK = new URL("../clients/typescript/src/", import.meta.url).pathname;
/** The modules of the SDK that the console uses, from their sources. */
const alias = Object.fromEntries([
  ["@circled/client", `${SDK}index.ts`],
  ...["address", "circle", "json", "keys", "signers"].map((name) => [`@circled/client/${name}`, `${SDK}${name}.ts`]),
]);
// The SDK's own dependencies are installed here.
const nodePaths = [new URL("node_modules", import.meta.url).pathname];
/** The files of dist/, which the server embeds, each also compressed. */
const FILES = ["chart.js", "console.css", "console.js", "editor.js", "index.html", "licenses.txt"];

/** Returns the licences of the packages of whose files a bundle is made, as one text. */
async function licences(inputs) {
  const found = [...inputs].map((path) => /^(?:.*\/)?node_modules\/(@[^/]+\/[^/]+|[^/]+)\//.exec(path));
  const folders = [...new Set(found.filter(Boolean).map(([folder]) => folder))].sort();
  const texts = folders.map(async (folder) => {
    const { name, version, license, homepage } = JSON.parse(await readFile(`${folder}package.json`, "utf8"));
    const file = (await readdir(folder)).find((file) => /^licen[cs]e/i.test(file));
    if (!file) throw new Error(`${folder} has no licence file`);
    const text = (await readFile(folder + file, "utf8")).trim();
    return `${name} ${version} (${license})${homepage ? `\n${homepage}` : ""}\n\n${text}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`);
}

async function buildConsole() {
  const { metafile, outputFiles } = await build({
    entryPoints: { console: "src/main.tsx", editor: "src/editor/main.ts", chart: "src/chart/main.ts" },
    outdir: "dist",
    bundle: true,
    splitting: false,
    minify: true,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    metafile: true,
    write: false,
    logLevel: "warning",
    alias,
    nodePaths,
  });
  const made = new Map(outputFiles.map(({ path, contents }) => [basename(path), Buffer.from(contents)]));
  made.set("index.html", await readFile("src/index.html"));
  made.set("licenses.txt", Buffer.from(await licences(Object.keys(metafile.inputs))));
  const names = [...made.keys()].sort();
  if (names.join() !== FILES.join()) throw new Error(`it makes ${names}, and should make ${FILES}`);
  await mkdir("dist", { recursive: true });
  for (const [name, bytes] of made) {
    if (bytes.length === 0) throw new Error(`${name} is empty`);
    await put(name, bytes);
    await put(`${name}.gz`, gzipSync(bytes, { level: 9 }));
  }
}

/** Writes a file of dist/, whole or not at all. */
async function put(name, bytes) {
  await writeFile(`dist/.${name}.new`, bytes);
  await rename(`dist/.${name}.new`, `dist/${name}`);
}

async function buildTests() {
  await rm("build", { recursive: true, force: true });
  const tests = (await readdir("test")).filter((file) => file.endsWith(".test.ts"));
  const shared = {
    outdir: "build",
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
    alias: alias((file) => `${SDK}${file}.ts`),
    nodePaths,
  };
  const external = ["axe-core", "esbuild", "nostr-tools", "playwright-core", "viem", "ws"];
  await build({ ...shared, entryPoints: tests.map((file) => `test/${file}`), platform: "node", external });
  await build({ ...shared, entryPoints: ["test/harness/extensions.ts"], format: "iife" });
}

process.chdir(new URL(".", import.meta.url).pathname);
await (process.argv.includes("--test") ? buildTests() : buildConsole());
