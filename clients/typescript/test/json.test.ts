import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, stringify } from "../dist/json.js";

const LARGEST = 9223372036854775807n;

test("integers that a number can't hold are bigints, and all others are numbers", () => {
  assert.deepEqual(parse(`[1, -0, 9007199254740991, 9007199254740992, -9007199254740993, ${LARGEST}, -${LARGEST}]`), [
    1,
    -0,
    9007199254740991,
    9007199254740992n,
    -9007199254740993n,
    LARGEST,
    -LARGEST,
  ]);
  assert.deepEqual(parse("[18446744073709551616.0, 1e300, 0.12345678901234567, 1844674407370955161600e-2]"), [
    2 ** 64,
    1e300,
    Number("0.12345678901234567"),
    2 ** 64,
  ]);
});

test("digits in strings and names are text", () => {
  const text = String.raw`{"9223372036854775807":"9223372036854775807","a\"":"\\","b":[9223372036854775807,"\"9223372036854775807"]}`;
  assert.deepEqual(parse(text), {
    "9223372036854775807": "9223372036854775807",
    'a"': "\\",
    b: [LARGEST, '"9223372036854775807'],
  });
  assert.equal(stringify(parse(text)), text);
});

test("what has been parsed is written as it was", () => {
  for (const text of [
    '{"a":[9223372036854775807,{"b":-9223372036854775808}],"c":null}',
    "18446744073709551615",
    '""',
    "[]",
  ]) {
    assert.equal(stringify(parse(text)), text);
  }
  assert.equal(
    stringify({ a: undefined, b: 1n, c: [undefined, 2n ** 70n] }),
    '{"b":1,"c":[null,1180591620717411303424]}',
  );
});

test("as numbers, integers are rounded", () => {
  assert.deepEqual(parse("[9223372036854775807]", "number"), [2 ** 63]);
});

test("names with a special meaning are data", () => {
  for (const long of ["1", "9007199254740993"]) {
    const value = parse(`{"__proto__":{"admin":true},"constructor":${long},"toJSON":1}`) as Record<string, unknown>;
    assert.deepEqual(Object.keys(value), ["__proto__", "constructor", "toJSON"]);
    assert.equal(Object.getPrototypeOf(value), Object.prototype);
    assert.equal((value as { admin?: boolean }).admin, undefined);
    assert.equal(stringify(value), `{"__proto__":{"admin":true},"constructor":${long},"toJSON":1}`);
  }
});

test("a bigint that has been taught toJSON is an integer still", () => {
  const prototype = BigInt.prototype as unknown as Record<string, unknown>;
  prototype.toJSON = () => "no";
  try {
    assert.equal(stringify([1n]), "[1]");
  } finally {
    delete prototype.toJSON;
  }
});

test("long texts are read, and bad ones refused", () => {
  const long = `["${"x".repeat(20 << 20)}\\"",9223372036854775807]`;
  assert.equal((parse(long) as unknown[])[1], LARGEST);
  for (const wrong of ["", "{", "9223372036854775807,", '{"a":9223372036854775807', "09223372036854775807", "-"]) {
    assert.throws(() => parse(wrong), SyntaxError, wrong);
  }
});
