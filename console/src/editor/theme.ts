/** The colours of the editor: those of the page, by its variables, which also hold in a shadow root. */

import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const base = EditorView.theme({
  "&": { height: "100%", color: "var(--fg)", backgroundColor: "var(--bg-raised)", fontSize: "13px" },
  // An outline would be under the gutter.
  "&.cm-focused": { outline: "none" },
  "&.cm-focused:after": {
    content: "''",
    position: "absolute",
    inset: "0",
    zIndex: "250",
    border: "2px solid var(--accent)",
    pointerEvents: "none",
  },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "20px", overflow: "auto" },
  ".cm-content": { padding: "8px 0", caretColor: "var(--fg)" },
  ".cm-line": { padding: "0 12px 0 8px" },
  ".cm-gutters": { color: "var(--fg-muted)", backgroundColor: "var(--bg-raised)", border: "0" },
  ".cm-lineNumbers .cm-gutterElement": { minWidth: "32px", padding: "0 6px 0 4px" },
  ".cm-gutter-lint": { width: "14px" },
  ".cm-gutter-lint .cm-gutterElement": { padding: "0 2px" },
  ".cm-lint-marker": {
    content: "normal",
    width: "8px",
    height: "8px",
    margin: "6px 1px",
    borderRadius: "50%",
    backgroundColor: "var(--danger)",
  },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--bg-hover) 55%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--fg)" },
  ".cm-cursor": { borderLeftColor: "var(--fg)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground, .cm-content ::selection":
    {
      backgroundColor: "color-mix(in srgb, var(--accent) 28%, transparent)",
    },
  ".cm-selectionMatch": { backgroundColor: "var(--bg-active)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--bg-active)", outline: "1px solid var(--line-strong)" },
  "&.cm-focused .cm-nonmatchingBracket": { backgroundColor: "var(--danger-bg)" },
  ".cm-specialChar": {
    color: "var(--warn)",
    backgroundColor: "var(--warn-bg)",
    borderRadius: "3px",
    padding: "0 2px",
    fontSize: "0.85em",
    fontStyle: "normal",
  },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--danger)",
    textUnderlineOffset: "3px",
    textDecorationSkipInk: "none",
  },
  ".cm-tooltip": {
    border: "1px solid var(--line-strong)",
    borderRadius: "6px",
    backgroundColor: "var(--bg-raised)",
    color: "var(--fg)",
    boxShadow: "var(--shadow)",
    overflow: "hidden",
  },
  ".cm-diagnostic": { padding: "6px 10px", font: "400 13px/18px var(--sans)", maxWidth: "420px" },
  ".cm-diagnostic-error": { borderLeft: "3px solid var(--danger)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { font: "400 12.5px/20px var(--mono)", maxHeight: "240px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "2px 8px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--bg-active)", color: "var(--fg)" },
  ".cm-completionMatchedText": { textDecoration: "none", color: "var(--accent)" },
  ".cm-completionDetail": { fontStyle: "normal", color: "var(--fg-muted)", fontFamily: "var(--sans)" },
  ".cm-panels": { backgroundColor: "var(--bg-side)", color: "var(--fg)" },
  ".cm-panels.cm-panels-top": { borderBottom: "1px solid var(--line)" },
  ".cm-panel.cm-search": { padding: "8px 28px 8px 10px", fontSize: "12px" },
  ".cm-panel.cm-search label": { fontSize: "12px" },
  ".cm-panel.cm-search [name=close]": { color: "var(--fg-muted)", top: "8px", right: "8px", fontSize: "18px" },
  ".cm-textfield": {
    border: "1px solid var(--line-strong)",
    borderRadius: "4px",
    backgroundColor: "var(--bg-raised)",
    color: "var(--fg)",
    padding: "3px 6px",
    fontSize: "12px",
  },
  ".cm-button": {
    border: "1px solid var(--line-strong)",
    borderRadius: "4px",
    backgroundImage: "none",
    backgroundColor: "var(--bg-raised)",
    color: "var(--fg)",
    fontSize: "12px",
  },
  ".cm-searchMatch": { backgroundColor: "var(--warn-bg)", outline: "1px solid var(--warn)" },
  ".cm-searchMatch-selected": { backgroundColor: "color-mix(in srgb, var(--accent) 30%, transparent)" },
  ".cm-changedLine": { backgroundColor: "var(--ok-bg) !important" },
  ".cm-deletedChunk, &.cm-merge-a .cm-changedLine": { backgroundColor: "var(--danger-bg) !important" },
  // A line below, because a darker ground would have too little contrast.
  "&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText": {
    background: "none",
    boxShadow: "inset 0 -2px var(--danger)",
  },
  "&.cm-merge-b .cm-changedText, .cm-changedText": { background: "none", boxShadow: "inset 0 -2px var(--ok)" },
  ".cm-changeGutter": { width: "3px", paddingLeft: "0" },
  ".cm-changedLineGutter": { background: "var(--ok)" },
  "&.cm-merge-a .cm-changedLineGutter, .cm-deletedLineGutter": { background: "var(--danger)" },
  ".cm-collapsedLines": {
    padding: "4px 8px",
    background: "var(--bg-code)",
    color: "var(--fg-muted)",
    fontFamily: "var(--sans)",
    fontSize: "12px",
  },
  ".cm-collapsedLines:before, .cm-collapsedLines:after": { color: "var(--fg-muted)" },
});

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--code-keyword)" },
  { tag: [tags.string, tags.character, tags.escape], color: "var(--ok)" },
  { tag: [tags.number, tags.bool], color: "var(--info)" },
  { tag: [tags.comment, tags.docComment, tags.meta], color: "var(--fg-muted)", fontStyle: "italic" },
  { tag: [tags.constant(tags.variableName), tags.standard(tags.variableName)], color: "var(--warn)" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.propertyName, tags.namespace], color: "var(--fg)" },
  { tag: [tags.operator, tags.punctuation, tags.bracket], color: "var(--fg-muted)" },
]);

export const theme: Extension = [base, syntaxHighlighting(colours)];
