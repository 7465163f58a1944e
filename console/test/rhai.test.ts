/** The editor's knowledge of Rhai. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { getIndentation, indentUnit } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { classHighlighter, highlightTree } from "@lezer/highlight";
import { rhai } from "../src/editor/rhai.js";

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
