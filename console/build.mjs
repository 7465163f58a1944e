// Builds dist/, which the server's binary embeds: `node build.mjs`. `--test` builds the tests into build/ instead.
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, relative, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const SDK = new URL("../clients/typescript/src/", import.meta.url).pathname;
/** The modules of the SDK that the console uses, from their sources. */
const alias = Object.fromEntries([
  ["@circled/client", `${SDK}index.ts`],
  ...["address", "json", "keys", "signers"].map((name) => [`@circled/client/${name}`, `${SDK}${name}.ts`]),
]);
// The SDK's own dependencies are installed here.
const nodePaths = [new URL("node_modules", import.meta.url).pathname];
/** The pages that are files of their own. */
const PAGES = ["api", "deliveries", "jobs", "live", "members", "scripts", "store"];

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

/** Has the pages take from console.js what src/kit.ts lists; the rest of what they import is theirs. */
const kit = {
  name: "kit",
  async setup(build) {
    const text = await readFile("src/kit.ts", "utf8");
    const shared = new Set([...text.matchAll(/^export \* from "(.+?)(?:\.js)?";$/gm)].map(([, name]) => name));
    build.onResolve({ filter: /^[.@\w]/ }, ({ path, resolveDir, kind }) => {
      if (kind !== "import-statement" || path.endsWith(".css")) return undefined;
      const isOwn = path.startsWith(".");
      const name = isOwn ? `./${relative("src", resolve(resolveDir, path)).replace(/\.js$/, "")}` : path;
      if (shared.has(name)) return { path: "./console.js", external: true };
      if (isOwn && /^\.\/(pages|editor)\//.test(name)) return undefined;
      return { errors: [{ text: `src/kit.ts lacks ${name}` }] };
    });
  },
};

/** Fails if a page takes something from console.js that it doesn't export: a name that two modules of the kit have. */
function checkImports(name, text, exported) {
  for (const [, list] of text.matchAll(/import\{([^}]*)\}from"\.\/console\.js"/g)) {
    const missing = list
      .split(",")
      .map((one) => one.split(" as ")[0])
      .filter((one) => one && !exported.has(one));
    if (missing.length > 0) throw new Error(`${name} takes ${missing} from console.js, which has no such export`);
  }
}

async function buildConsole() {
  const options = {
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
    nodePaths,
  };
  const entries = { console: "src/main.tsx", editor: "src/editor/main.ts", chart: "src/chart/main.ts" };
  const builds = await Promise.all([
    build({ ...options, alias, entryPoints: entries }),
    build({ ...options, plugins: [kit], entryPoints: PAGES.map((name) => `src/pages/${name}.tsx`) }),
  ]);
  const made = new Map();
  for (const { path, contents } of builds.flatMap(({ outputFiles }) => outputFiles)) {
    // The styles are one file, whichever page they are for.
    const name = path.endsWith(".css") ? "console.css" : basename(path);
    made.set(name, Buffer.concat([made.get(name) ?? Buffer.of(), contents]));
  }
  const exported = new Set(builds[0].metafile.outputs["dist/console.js"].exports);
  for (const page of PAGES) checkImports(page, made.get(`${page}.js`).toString(), exported);
  made.set("index.html", await readFile("src/index.html"));
  made.set("licenses.txt", Buffer.from(await licences(builds.flatMap(({ metafile }) => Object.keys(metafile.inputs)))));
  const names = [...made.keys()].sort().join("\n");
  // The server embeds these.
  const files = (await readFile("files.txt", "utf8")).trim();
  if (names !== files) throw new Error(`it makes ${names}, and files.txt has ${files}`);
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
    alias,
    nodePaths,
  };
  const external = ["axe-core", "esbuild", "nostr-tools", "playwright-core", "viem", "ws"];
  await build({
    ...shared,
    entryPoints: [...tests.map((file) => `test/${file}`), "test/harness/gallery.ts"],
    entryNames: "[name]",
    platform: "node",
    external,
  });
  await build({ ...shared, entryPoints: ["test/harness/extensions.ts"], format: "iife" });
}

process.chdir(new URL(".", import.meta.url).pathname);
await (process.argv.includes("--test") ? buildTests() : buildConsole());
