/** A call as code: JSON, TypeScript, Rust, a command. */

import type { Circle, Json } from "@circled/client";
import { stringify } from "@circled/client/json";
import { pretty } from "../store/text.js";
import { command } from "./command.js";
import { rust } from "./rust.js";

export interface Snippet {
  readonly title: string;
  readonly code: string;
  /** A remark that readers of the code need. */
  readonly note?: string;
}

type Params = { [name: string]: Json };

/** Returns a call in all forms. `url` is that of the circle. */
export function snippets(method: string, params: Params, url: string, circle: Circle): Snippet[] {
  return [
    { title: "JSON", code: pretty(stringify({ jsonrpc: "2.0", id: 1, method, params })) },
    {
      title: "TypeScript",
      code: typescript(method, params, url, circle),
      note: "With @circled/client; me.key is your key file.",
    },
    {
      title: "Rust",
      code: rust(method, params, url),
      note: "With the crates circled-client, futures-util, serde_json and tokio; me.key is your key file.",
    },
    shell(method, params, url),
  ];
}

/** Writes a value as an expression. Long integers become bigints; `__proto__` is a name like any other. */
export function literal(value: Json): string {
  if (typeof value === "bigint") return `${value}n`;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (value === null || typeof value !== "object") return pretty(JSON.stringify(value));
  const members = Object.entries(value).map(([name, member]) => `${nameOf(name)}: ${literal(member)}`);
  return members.length > 0 ? `{ ${members.join(", ")} }` : "{}";
}

function nameOf(name: string): string {
  if (name === "__proto__") return '["__proto__"]';
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : pretty(JSON.stringify(name));
}

function typescript(method: string, params: Params, url: string, circle: Circle): string {
  const lines = [
    'import { readFileSync } from "node:fs";',
    'import { connect } from "@circled/client";',
    'import { keySigner, SecretKey } from "@circled/client/keys";',
    "",
    'const key = SecretKey.fromHex(readFileSync("me.key", "utf8"));',
    `const circle = await connect({ url: ${literal(url)}, signer: keySigner(key) });`,
    ...body(method, params, circle),
    "circle.close();",
  ];
  return lines.join("\n");
}

function body(method: string, params: Params, circle: Circle): string[] {
  const { args, script, name, version, topic = "", since, timeout_ms, request_id } = params;
  const list = (...values: (Json | undefined)[]) => {
    while (values.length > 0 && values.at(-1) === undefined) values.pop();
    return values.map((value) => (value === undefined ? "undefined" : literal(value))).join(", ");
  };
  const given = (options: Record<string, Json | undefined>) => {
    const pairs = Object.entries(options).filter(
      (pair): pair is [string, Json] => pair[1] !== undefined && pair[1] !== null,
    );
    return pairs.length > 0 ? Object.fromEntries(pairs) : undefined;
  };
  const log = (call: string) => [`console.log(await circle.${call});`];
  switch (method) {
    case "play":
      return log(`play(${list(script ?? "", args, given({ timeout: timeout_ms, requestId: request_id }))})`);
    case "call":
      return log(`call(${list(name ?? "", args, given({ version, timeout: timeout_ms, requestId: request_id }))})`);
    case "watch": {
      const query = script === undefined || script === null ? (given({ name, version }) ?? {}) : { script };
      return [`for await (const value of circle.watch(${list(query, args)})) {`, "  console.log(value);", "}"];
    }
    case "subscribe":
      return [
        `for await (const event of circle.events(${list(topic, given({ since }))})) {`,
        "  console.log(event);",
        "}",
      ];
    case "submit_job":
      return log(`submitJob(${literal(params)})`);
    case "rpc.discover":
      return log("discover()");
    case "fetch_nonce":
    case "authenticate":
      return ["// The signer has logged in: it calls fetch_nonce and authenticate."];
  }
  const camel = method.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  const values = Object.keys(params).length > 0 ? [params] : [];
  return log(Object.hasOwn(circle, camel) ? `${camel}(${list(...values)})` : `request(${list(method, ...values)})`);
}

function shell(method: string, params: Params, url: string): Snippet {
  const line = command(method, params, url);
  if (line)
    return {
      title: "Shell",
      code: line,
      note: "circled logs in by your key file, me.key. curl can't: circled speaks JSON-RPC over WebSocket.",
    };
  const message = pretty(stringify({ jsonrpc: "2.0", id: 1, method, params })).replace(/\s*\n\s*/g, " ");
  const code = `npx wscat --connect ${url} --wait 1 --execute ${quote(message)}`;
  const note =
    "circled has no command for this. wscat shows the messages, but can't log in: it may do what anyone may. curl doesn't speak WebSocket.";
  return { title: "Shell", code, note };
}

/** Quotes a text for a shell. */
export function quote(text: string): string {
  return /^[\w./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
