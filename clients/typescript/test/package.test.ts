import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** What the main entry may have, minified and packed by gzip. */
const LARGEST = 8 * 1024;

const folder = mkdtempSync(join(tmpdir(), "circled-client-"));
after(() => rmSync(folder, { recursive: true }));

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

const [packed] = JSON.parse(run("npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder));
const tarball = join(folder, packed.filename);

test("the package has what it is made of, and no more", () => {
  const others = packed.files
    .map(({ path }: { path: string }) => path)
    .filter((path: string) => !/^dist\/[a-z0-9-]+\.(js|d\.ts)$/.test(path));
  const licenses = ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"];
  assert.deepEqual(others.sort(), [...licenses, "README.md", "dist/proof.LICENSE.txt", "package.json"]);
  const text = (path: string) => run("tar", "xzOf", tarball, `package/${path}`);
  for (const name of licenses) assert.equal(text(name), readFileSync(`../../${name}`, "utf8"));
  // The build puts the curve into this file, and nothing else of others.
  const bundled = [...text("dist/proof.js").matchAll(/^\/\/ node_modules\/(.*?\/.*?)\//gm)].map(([, name]) => name);
  assert.deepEqual(bundled, ["@noble/secp256k1"]);
  assert.match(text("dist/proof.LICENSE.txt"), /MIT License.*Paul Miller.*shall be included/s);
});

test("publint has nothing to say of the package", () => {
  run("node_modules/.bin/publint", "run", tarball, "--strict");
});

test("its types are right however the package is imported", () => {
  // There is no CommonJS: Node.js 20 can't require it, and nothing else has to.
  run("node_modules/.bin/attw", tarball, "--profile", "esm-only", "--no-emoji");
});

test("the main entry is small, and depends on nothing", async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: ["dist/index.js"],
    // The check of a server's proof, which needs the curve, is loaded only where there is one.
    external: ["./proof.js"],
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    metafile: true,
  });
  const [bundle] = Object.values(metafile.outputs);
  assert.deepEqual(
    bundle?.imports.map(({ path, kind }) => [path, kind]),
    [["./proof.js", "dynamic-import"]],
  );
  const foreign = Object.keys(metafile.inputs).filter((input) => !input.startsWith("dist/"));
  assert.deepEqual(foreign, []);
  const size = gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length;
  assert.ok(size > 0 && size <= LARGEST, `the main entry has ${size} bytes, of at most ${LARGEST}`);
});
