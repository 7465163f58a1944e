/** A call as a program in Rust, with the crate circled-client. */

import type { Json } from "@circled/client";
import { stringify } from "@circled/client/json";
import { pretty } from "../store/text.js";

type Params = { [name: string]: Json };

/** Returns a program that makes a call, or follows what it begins. `url` is that of the circle. */
export function rust(method: string, params: Params, url: string): string {
  const follower = followerOf(method, params, literal(url));
  const lines = follower
    ? [
        `let mut notices = ${follower}.start();`,
        "while let Some(notice) = notices.next().await {",
        '    println!("{:?}", notice?);',
        "}",
      ]
    : [
        `let client = Client::connect(${literal(url)}).await?;`,
        "client.authenticate(&key, Scheme::Sha256).await?;",
        `let params: serde_json::Value = ${value(params)};`,
        `let result: Json = client.call(${literal(method)}, params).await?;`,
        'println!("{result}");',
      ];
  const uses = follower
    ? [
        `use circled_client::{${method === "watch" ? "Watch" : "Follow"}, protocol::SecretKey};`,
        "use futures_util::StreamExt;",
      ]
    : ["use circled_client::{Client, protocol::{Json, Scheme, SecretKey}};"];
  return [
    ...uses,
    "",
    "#[tokio::main]",
    "async fn main() -> Result<(), Box<dyn std::error::Error>> {",
    '    let key = SecretKey::from_hex(std::fs::read_to_string("me.key")?.trim())?;',
    ...lines.map((line) => `    ${line}`),
    "    Ok(())",
    "}",
  ].join("\n");
}

/** Returns what follows events or a value; undefined for other methods. */
function followerOf(method: string, params: Params, address: string): string | undefined {
  const { topic, since, script, name, version, args } = params;
  const isGiven = (param: Json | undefined): param is Exclude<Json, null> => param !== undefined && param !== null;
  if (method === "subscribe") {
    const options = [
      isGiven(topic) ? `.topic(${literal(String(topic))})` : "",
      isGiven(since) ? `.since(${String(since)})` : "",
    ];
    return `Follow::new(${address}, key)${options.join("")}`;
  }
  if (method !== "watch") return undefined;
  const query = isGiven(script) ? ["script", script] : ["named", name ?? ""];
  const options = [
    isGiven(args) ? `.args(${value(args)})` : "",
    isGiven(version) ? `.version(${literal(String(version))})` : "",
  ];
  return `Watch::${query[0]}(${address}, key, ${literal(String(query[1]))})${options.join("")}`;
}

/** Writes a value as JSON that the program parses. */
function value(json: Json): string {
  const text = pretty(stringify(json));
  const hashes = "#".repeat(1 + Math.max(0, ...[...text.matchAll(/"(#*)/g)].map(([, found = ""]) => found.length)));
  return `serde_json::from_str(r${hashes}"${text}"${hashes})?`;
}

/** Writes a text as a literal. */
function literal(text: string): string {
  const escaped = text.replace(/["\\]/g, "\\$&").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (one) => {
    return `\\u{${one.codePointAt(0)?.toString(16)}}`;
  });
  return `"${escaped}"`;
}
