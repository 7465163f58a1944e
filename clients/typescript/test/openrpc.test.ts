import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { type TestContext, test } from "node:test";
import { Ajv, type AnySchema } from "ajv";
import { newCircle, serve } from "./harness/circle.js";

interface Document {
  openrpc: unknown;
  methods: { name: string; params: { schema: unknown }[]; [more: string]: unknown }[];
  info: { version: unknown };
}

async function document(t: TestContext): Promise<Document> {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  return (await circle.discover()) as unknown as Document;
}

/** The JSON Schema of OpenRPC documents, as the OpenRPC project publishes it. */
function validator() {
  // Its types don't name what it exports.
  const { openrpcDocument } = createRequire(import.meta.url)("@open-rpc/meta-schema");
  // What it calls the schema of JSON Schema is that of draft 7.
  const draft7 = "http://json-schema.org/draft-07/schema#";
  const text = JSON.stringify(openrpcDocument)
    .replaceAll("https://meta.json-schema.tools/#/definitions/JSONSchemaObject", draft7)
    .replaceAll(/https:\/\/meta\.json-schema\.tools\/?/g, draft7);
  return new Ajv({ strict: false, validateFormats: false }).compile(JSON.parse(text) as AnySchema);
}

test("the server's description of itself is an OpenRPC document", async (t) => {
  const validate = validator();
  validate(await document(t));
  assert.deepEqual(validate.errors, null);
});

test("what is no OpenRPC document is noticed", async (t) => {
  const validate = validator();
  const right = await document(t);
  const changes: ((wrong: Document) => void)[] = [
    (wrong) => Object.assign(wrong, { openrpc: "1.4.0" }),
    (wrong) => Object.assign(wrong.info, { version: 1 }),
    (wrong) => Object.assign(wrong.methods[0]?.params[0] ?? {}, { schema: "string" }),
    (wrong) => Object.assign(wrong.methods[0]?.params[0]?.schema ?? {}, { type: "text" }),
    (wrong) => Object.assign(wrong.methods[0] ?? {}, { paramStructure: "any" }),
    (wrong) => Object.assign(wrong.methods[0] ?? {}, { errors: [{ code: "-32000", message: "" }] }),
  ];
  for (const change of changes) {
    const wrong = structuredClone(right);
    change(wrong);
    assert.equal(validate(wrong), false, String(change));
  }
});

test("a circle has all methods of the server", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const { methods } = (await circle.discover()) as unknown as Document;
  const camel = (name: string) => name.replace(/^rpc\.|_(.)/g, (_, letter = "") => letter.toUpperCase());
  const missing = methods
    .map(({ name }) => camel(name))
    .filter((name) => typeof Reflect.get(circle, name) !== "function");
  // Connecting logs in, and what `events` and `watch` return unsubscribes.
  assert.deepEqual(missing.sort(), ["authenticate", "fetchNonce", "unsubscribe"]);
});
