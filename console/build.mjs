// Builds dist/, which the server's binary embeds: `node build.mjs`. `--test` builds the tests into build/ instead.
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const SDK = new URL("../clients/typescript/src/", import.meta.url).pathname;
/** The modules of the SDK that the console uses, by their names. */
const MODULES = { "": "index", "/address": "address", "/json": "json", "/keys": "keys", "/signers": "signers" };

/** Returns aliases of these modules, to the files that have them. */
function alias(fileOf) {
  return Object.fromEntries(Object.entries(MODULES).map(([name, file]) => [`@circled/client${name}`, fileOf(file)]));
}

// The SDK's own dependencies are installed here.
const nodePaths = [new URL("node_modules", import.meta.url).pathname];
/** The files of dist/, which the server embeds, each also compressed. */
const FILES = [
  "chart.js",
  "console.css",
  "console.js",
  "editor.js",
  "index.html",
  "licenses.txt",
  "pages.js",
  "shared.js",
];

/** Returns the licences of the packages of whose files a bundle is made, as one text. */
async function licences(inputs) {
  const found = inputs.map((path) => /^(?:.*\/)?node_modules\/(@[^/]+\/[^/]+|[^/]+)\//.exec(path));
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

/** Builds the SDK as one module, so that its own dynamic import makes no file. */
async function buildSdk() {
  const contents = Object.values(MODULES).map((file) => `export * from ${JSON.stringify(`${SDK}${file}.ts`)};`);
  const outfile = new URL("build/sdk/index.js", import.meta.url).pathname;
  const stdin = { contents: contents.join("\n"), resolveDir: SDK };
  const options = { bundle: true, format: "esm", target: "es2022", metafile: true, nodePaths, outfile };
  const { metafile } = await build({ ...options, stdin, logLevel: "warning" });
  return { outfile, metafile };
}

async function buildConsole() {
  const sdk = await buildSdk();
  const shared = {
    outdir: "dist",
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    metafile: true,
    write: false,
    logLevel: "warning",
    alias: alias(() => sdk.outfile),
    nodePaths,
  };
  const builds = await Promise.all([
    // What both have in common is a file of its own.
    build({
      ...shared,
      entryPoints: { console: "src/main.tsx", pages: "src/pages/index.ts" },
      splitting: true,
      chunkNames: "shared",
    }),
    build({ ...shared, entryPoints: { editor: "src/editor/main.ts", chart: "src/chart/main.ts" } }),
  ]);
  const made = new Map();
  for (const { path, contents } of builds.flatMap(({ outputFiles }) => outputFiles)) {
    // The styles are one file, whichever page they are for.
    const name = basename(path).replace("pages.css", "console.css");
    made.set(name, Buffer.concat([made.get(name) ?? Buffer.of(), contents]));
  }
  made.set("index.html", await readFile("src/index.html"));
  made.set(
    "licenses.txt",
    Buffer.from(await licences([sdk, ...builds].flatMap(({ metafile }) => Object.keys(metafile.inputs)))),
  );
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
  for (const file of await readdir("build").catch(() => [])) if (file.endsWith(".js")) await rm(`build/${file}`);
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
