/** JSON as text, changed without reading its numbers: `1.0` stays `1.0`. */

import { EACH_INVISIBLE } from "../../ui/invisible.js";

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{},:]|[^\s[\]{},:"]+/g;
const SHORT = 72;

/** Returns a string in JSON with the same value, all of whose characters can be seen: `\\u202e`. */
function escaped(token: string): string {
  return token.replace(EACH_INVISIBLE, (one) =>
    [...Array(one.length).keys()].map((n) => `\\u${one.charCodeAt(n).toString(16).padStart(4, "0")}`).join(""),
  );
}

/** Returns a JSON text with line breaks and indentation, and no invisible characters. Short lists and maps stay on a line. */
export function pretty(text: string): string {
  const tokens = text.match(TOKEN) ?? [];
  let at = 0;
  const read = (indent: string): string => {
    const token = tokens[at++] ?? "";
    if (token !== "[" && token !== "{") return escaped(token);
    const inner = `${indent}  `;
    const members: string[] = [];
    while (at < tokens.length && tokens[at] !== "]" && tokens[at] !== "}") {
      if (tokens[at] === ",") at++;
      const first = read(inner);
      if (tokens[at] !== ":") {
        members.push(first);
        continue;
      }
      at++;
      members.push(`${first}: ${read(inner)}`);
    }
    const close = tokens[at++] ?? "";
    if (members.length === 0) return token + close;
    const line = token === "{" ? `{ ${members.join(", ")} }` : `[${members.join(", ")}]`;
    if (line.length + indent.length <= SHORT && !line.includes("\n")) return line;
    return `${token}\n${members.map((member) => inner + member).join(",\n")}\n${indent}${close}`;
  };
  return read("");
}

/** Returns the first integer of a JSON text that has more than 64 bits: the server makes a float of it. */
export function tooLong(text: string): string | undefined {
  const numbers = (text.match(TOKEN) ?? []).filter((token) => /^-?\d{19,}$/.test(token));
  return numbers.find((number) => BigInt.asIntN(64, BigInt(number)) !== BigInt(number));
}

/** Returns why a text is not JSON; undefined if it is. */
export function wrong(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return text.trim() ? (error as Error).message : "A value is needed, as JSON: a text is in quotes";
  }
}

/** Returns what a person has to type to confirm that something of this name is deleted. */
export function typeable(name: string): string {
  return /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(name) && name.length <= 64 ? name : "delete";
}
