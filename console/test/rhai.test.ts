/** The editor's knowledge of Rhai. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { getIndentation, indentUnit, StreamLanguage } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { classHighlighter, highlightTree } from "@lezer/highlight";
import { advancing, rhai } from "../src/editor/rhai.js";

/** Returns what a source is made of: `keyword:let`. Neighbours of one kind are one. */
function parts(source: string): string[] {
  const found: { kind: string; text: string; to: number }[] = [];
  highlightTree(rhai.parser.parse(source), classHighlighter, (from, to, classes) => {
    const kind = classes.replace(/^tok-(\w+).*/, "$1");
    const last = found.at(-1);
    if (last?.kind === kind && last.to === from) {
      last.text += source.slice(from, to);
      last.to = to;
    } else found.push({ kind, text: source.slice(from, to), to });
  });
  return found.filter(({ kind }) => kind !== "punctuation").map(({ kind, text }) => `${kind}:${text}`);
}

test("strings, templates, raw strings and nested comments end where they do for the server", () => {
  assert.deepEqual(parts('"a \\" b" + "c""d"'), [
    'string:"a ',
    'string2:\\"',
    'string: b"',
    "operator:+",
    'string:"c""d"',
  ]);
  assert.deepEqual(parts('"open\nlet'), ['string:"open', "keyword:let"]);
  assert.deepEqual(parts('"goes \\\non" let'), ['string:"goes \\', 'string:on"', "keyword:let"]);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Rhai's
  assert.deepEqual(parts("`a \\${ b ${ if x { `in ${1}` } } c\nd` let"), [
    "string:`a \\${ b ",
    "keyword:if",
    "variableName:x",
    "string:`in ",
    "number:1",
    "string:`",
    "string: c",
    "string:d`",
    "keyword:let",
  ]);
  assert.deepEqual(parts('##"a "# ` /* "## let'), ['string:##"a "# ` /* "##', "keyword:let"]);
  assert.deepEqual(parts("/* a /* b */ c\n */ let // d"), [
    "comment:/* a /* b */ c",
    "comment: */",
    "keyword:let",
    "comment:// d",
  ]);
});

test("names are told apart by what they are", () => {
  assert.deepEqual(parts("store.get(ARGS.key, 0x1f) ?? 1..2;"), [
    "variableName:store",
    "propertyName:get",
    "variableName:ARGS",
    "propertyName:key",
    "number:0x1f",
    "operator:??",
    "number:1",
    "operator:..",
    "number:2",
  ]);
  assert.deepEqual(parts("#{ if_new: 'x', b: true }"), [
    "propertyName:if_new",
    "string:'x'",
    "propertyName:b",
    "bool:true",
  ]);
  assert.deepEqual(parts("#!/usr/bin/rhai\nlet"), ["meta:#!/usr/bin/rhai", "keyword:let"]);
});

test("lines are indented by their brackets, and those of a template as they are", () => {
  const indents = (doc: string) => {
    const state = EditorState.create({ doc, extensions: [rhai, indentUnit.of("    ")] });
    return Array.from({ length: state.doc.lines }, (_, i) => getIndentation(state, state.doc.line(i + 1).from));
  };
  assert.deepEqual(indents("if a {\n    f(#{\n        b: 1,\n    });\n}\nc"), [0, 4, 8, 4, 0, 0]);
  assert.deepEqual(indents("let t = `\n  x\n`;\ny").slice(3), [0]);
});

test("escapes are read as the server does, and unfinished ones are text", () => {
  for (const one of ["\\u202E", "\\U0001F600", "\\x4a", "\\x4A", "\\n", "\\\\"])
    assert.deepEqual(parts(`"a${one}b" let`), ['string:"a', `string2:${one}`, 'string:b"', "keyword:let"]);
  for (const open of ["\\u", "\\u1", "\\U0001F60", "\\x4", "\\xg0"])
    assert.deepEqual(parts(`"${open}" let`), [`string:"${open}"`, "keyword:let"]);
});

test("no text stops the reader, and none of it is lost", () => {
  // The same texts in every run.
  let seed = 1;
  const below = (limit: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >> 8) % limit;
  };
  const pieces = [
    ..."\"`'\\$}{()[]#/*!.,;:=-+0123xuUeEoOaFgZ_ \t\n\r\u0000\u0007\u00e4\u202e\u2028\ufeff\ud83d\ude00",
    ...'\\" \\u \\U \\x 202E 0001F600 ${ /* */ #" "# `` #{ let store.'.split(" "),
    "\\\n",
  ];
  const check = (source: string) => {
    const state = EditorState.create({ doc: source, extensions: [rhai] });
    assert.equal(rhai.parser.parse(source).length, source.length, JSON.stringify(source));
    assert.equal(state.sliceDoc(), source.replace(/\r\n?/g, "\n"));
  };
  for (let n = 0; n < 3000; n++)
    check(Array.from({ length: 1 + below(24) }, () => pieces[below(pieces.length)]).join(""));
  // As somebody types it.
  const hostile =
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Rhai's
    '#!/x\nlet a = "\\u202E\\U0001F600\\x4a\\\n\\q" + `b ${ "\\u1" + \'\\x\' } \\${`; ##"r"# "## /* /* */ // \\u\n"\\U0001F60';
  for (let end = 0; end <= hostile.length; end++) {
    check(hostile.slice(0, end));
    check(hostile.slice(end));
  }
});

test("a reader that stays where it is takes a character", () => {
  const stuck = StreamLanguage.define({ token: advancing(() => null) });
  assert.equal(stuck.parser.parse("abc\ndef").length, 7);
});
