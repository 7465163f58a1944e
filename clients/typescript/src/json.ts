/** JSON whose integers keep all their digits: circled's are 64 bits long, and a JavaScript number has 53. */

/** A value as it comes from the server. An integer past 2^53 is a bigint, unless the option `integers` says otherwise. */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };

/** How integers come that a JavaScript number can't hold: whole as a bigint (`auto`), or rounded (`number`). */
export type Integers = "auto" | "number";

/** Begins a string that stands for an integer. It is drawn anew by each page, so no data can contain it. */
const MARK = `${Math.random()}${Math.random()}:`.replaceAll(".", "");
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, "g");
const LONG = /\d{16}/;
const STRING_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;
const INTEGER = /^-?[1-9]\d{15,}$/;

/** Parses a text. Every key is data: `__proto__` becomes a property like any other. */
export function parse(text: string, integers: Integers = "auto"): Json {
  if (integers === "number" || !LONG.test(text)) return JSON.parse(text);
  const marked = text.replace(STRING_OR_NUMBER, (token) =>
    INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `"${MARK}${token}"` : token,
  );
  if (marked.length === text.length) return JSON.parse(text);
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value,
  );
}

/** Writes a value. A bigint becomes an integer with all its digits. */
export function stringify(value: unknown): string {
  let hasMarks = false;
  const text = JSON.stringify(value, function (this: Record<string, unknown>, key, member) {
    const own = this[key];
    if (typeof own !== "bigint") return member;
    hasMarks = true;
    return MARK + own;
  });
  return hasMarks ? text.replace(MARKED, "$1") : text;
}
