// Writes src/generated.ts: all methods and their types, from what the server says of itself (`rpc.discover`).
// `--check` compares only, and fails if the file is another one. CIRCLED_TEST_BINARY names the server's binary.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { compile } from "json-schema-to-typescript";
import WebSocket from "ws";

const CIRCLE = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const FILE = new URL("../src/generated.ts", import.meta.url);
const BINARY = process.env.CIRCLED_TEST_BINARY ?? new URL("../../../target/debug/circled", import.meta.url).pathname;
const BANNER = `/**
 * The methods of a circle's server, with their parameters and results.
 *
 * Made from \`rpc.discover\` by scripts/types.mjs (\`npm run types\`). Don't change it by hand: \`npm run types:check\` compares.
 */

import type { Json } from "./json.js";
`;

/** Returns the OpenRPC document of the server. */
async function discover() {
  const data = await mkdtemp(join(tmpdir(), "circled-types-"));
  const server = spawn(BINARY, ["serve"], {
    stdio: ["ignore", "ignore", "pipe"],
    // CIRCLED_TEST_BINARY is no setting of the server's.
    env: {
      PATH: process.env.PATH,
      CIRCLED_SERVER__LISTEN: "127.0.0.1:0",
      CIRCLED_SERVER__ADMIN_LISTEN: "",
      CIRCLED_DISPATCH__EMBEDDED__DATA_DIR: data,
    },
  });
  try {
    for await (const line of createInterface(server.stderr)) {
      if (!line.includes('"serving"')) continue;
      const socket = new WebSocket(JSON.parse(line).url.replace("<circle_pk>", CIRCLE));
      await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
      socket.send(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "rpc.discover" }));
      const reply = await new Promise((resolve) => socket.on("message", resolve));
      socket.terminate();
      return JSON.parse(reply).result;
    }
    throw new Error(`${BINARY} does not serve`);
  } finally {
    server.kill("SIGKILL");
    await rm(data, { recursive: true, force: true });
  }
}

/** Types that the package has itself, for what comes in notifications and errors. */
const OWN = ["Notification", "ValueNotification", "Event", "RpcError"];

/** Methods that have a form of their own in src/circle.ts, and those of a login. */
const OWN_FORM = [
  ...["play", "call", "watch", "submit_job", "subscribe", "unsubscribe", "rpc.discover"],
  ...["fetch_nonce", "authenticate"],
];

/** Returns a schema in the form that the compiler of types wants. A schema that says nothing is that of any value. */
function prepare(schema, any = "Json") {
  if (schema.$ref) return { tsType: schema.$ref.replace("#/components/schemas/", "") };
  const { description, default: _, format: __, ...rest } = schema;
  const text = description === undefined ? {} : { description };
  if (Object.keys(rest).length === 0) return { ...text, tsType: any };
  // A reference with a description of its own.
  if (rest.allOf?.length === 1) return { ...text, ...prepare(rest.allOf[0], any) };
  // A list of words.
  if (rest.oneOf?.every((word) => typeof word.const === "string")) {
    return { ...text, type: "string", enum: rest.oneOf.map((word) => word.const) };
  }
  const prepared = { ...text, ...rest };
  for (const key of ["anyOf", "oneOf", "allOf"])
    if (rest[key]) prepared[key] = rest[key].map((one) => prepare(one, any));
  if (rest.items) prepared.items = prepare(rest.items, any);
  if (rest.properties) prepared.properties = entries(rest.properties, (one) => prepare(one, any));
  return prepared;
}

function entries(object, change) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
}

/** Returns the name of the type of a method's parameters: `PutScriptParams`. */
function nameOfParams(method) {
  return `${method.replace(/(?:^|[._])([a-z])/g, (_, letter) => letter.toUpperCase())}Params`;
}

/** Returns the source of the list of methods that the client calls as they are. */
function list(methods) {
  const plain = methods.filter(({ name }) => !OWN_FORM.includes(name));
  const lines = plain.map(({ name, "x-reads": reads }) => `  ${name}: ${reads},\n`);
  return `
/**
 * The methods that have no form of their own in the client; true: it changes nothing, and so can be asked again.
 */
export const METHODS = {
${lines.join("")}} as const satisfies { [M in keyof Methods]?: boolean };
`;
}

/** Returns the source of the types. */
async function generate(document) {
  const definitions = entries(document.components.schemas, (schema) => prepare(schema));
  for (const name of OWN) delete definitions[name];
  const methods = {};
  for (const { name, summary, params, result } of document.methods) {
    const of = nameOfParams(name);
    definitions[of] = {
      type: "object",
      description: `The parameters of \`${name}\`.`,
      properties: Object.fromEntries(params.map((param) => [param.name, prepare(param.schema, "unknown")])),
      required: params.filter((param) => param.required).map((param) => param.name),
    };
    methods[name] = {
      type: "object",
      description: summary,
      properties: { params: { tsType: of }, result: prepare(result.schema) },
      required: ["params", "result"],
    };
  }
  const required = Object.keys(methods);
  const root = { type: "object", description: "All methods.", properties: methods, required, definitions };
  const source = await compile(root, "Methods", {
    additionalProperties: false,
    bannerComment: BANNER,
    unreachableDefinitions: true,
    ignoreMinAndMaxItems: true,
    style: { printWidth: 120 },
  });
  // The compiler adds where each definition is used from.
  const types = source.replace(
    / \*\n \* This interface was referenced by .*\n \* via .*\n|\/\*\*\n \* This interface was .*\n \* via .*\n \*\/\n/g,
    "",
  );
  return types + list(document.methods);
}

const source = await generate(await discover());
if (!process.argv.includes("--check")) await writeFile(FILE, source);
else if (source !== (await readFile(FILE, "utf8"))) {
  throw new Error("src/generated.ts is not what the server says of itself: npm run types");
}
