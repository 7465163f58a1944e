/** Texts of others: different ones look different. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { EACH_FORMAT, INVISIBLE, visible } from "../src/ui/invisible.js";

const HIDDEN = [
  "\0",
  "\u0007",
  "\u007f",
  "\u0085",
  "\u00ad",
  "\u034f",
  "\u061c",
  "\u115f",
  "\u17b4",
  "\u180b",
  "\u200b",
  "\u200e",
  "\u2028",
  "\u202e",
  "\u2060",
  "\u2066",
  "\u2800",
  "\u3164",
  "\ufe0f",
  "\ufeff",
  "\uffa0",
  "\ufff0",
  "\u{e0001}",
  "\u{e0100}",
  "\ud800",
];

test("what can't be seen is named", () => {
  for (const one of HIDDEN) {
    const name = visible(`a${one}b`);
    assert.match(name, /^a⟨U\+[0-9A-F]{4,6}⟩b$/, JSON.stringify(one));
    assert.ok(!INVISIBLE.test(name));
  }
  assert.equal(new Set(HIDDEN.map((one) => visible(one))).size, HIDDEN.length);
  assert.equal(visible("a\n\tb", true), "a\n\tb");
  assert.equal(visible("Zoë, 日本語 and 😀 <b>"), "Zoë, 日本語 and 😀 <b>");
});

test("an editor keeps lines and tabs as they are", () => {
  assert.equal("a\n\tb\u202e".replace(EACH_FORMAT, "!"), "a\n\tb!");
});
