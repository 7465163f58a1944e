/**
 * The editor of scripts, and the view of two versions side by side: `editor.js`, which only the pages with scripts load.
 *
 * Both live in a shadow root: there, CodeMirror's styles are those of a style sheet object, which the page's policy permits.
 */

import { closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { type Diagnostic, lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension, type Text } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { EACH_FORMAT } from "../ui/invisible.js";
import { completion } from "./completion.js";
import { rhai } from "./rhai.js";
import { theme } from "./theme.js";

/** A fault at a place in a script. Lines and columns count from 1, columns in characters, as the server's. */
export interface Mark {
  readonly line: number;
  readonly column?: number | undefined;
  readonly message: string;
}

/** The options of an editor. */
export interface EditorOptions {
  readonly text: string;
  /** Its name for screen readers. */
  readonly label: string;
  readonly isReadOnly?: boolean | undefined;
  onChange?(text: string): void;
  /** Is told that it can't go on. What was typed last has been told. */
  onFail?(error: unknown): void;
}

/** An editor on the page. */
export interface Editor {
  /** Replaces the whole text, if it is another one. */
  setText(text: string): void;
  setMarks(marks: readonly Mark[]): void;
  setReadOnly(isReadOnly: boolean): void;
  /** Puts the cursor to a place, and shows it. */
  jump(line: number, column?: number): void;
  focus(): void;
  destroy(): void;
}

const LEAVE = "Tab indents. To leave the editor, press Escape, then Tab.";

const common: Extension = [
  lineNumbers(),
  highlightSpecialChars({ addSpecialChars: EACH_FORMAT, render: nameOf }),
  EditorState.allowMultipleSelections.of(true),
  indentUnit.of("    "),
  EditorState.tabSize.of(4),
  rhai,
  theme,
];

/**
 * Replaces a selection by what is typed. If the browser did it, it would keep the look of the lines that it joins by `style`
 * attributes, which the page's policy forbids.
 */
const replacing = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { main, ranges } = view.state.selection;
    const text = event.data;
    if (event.inputType !== "insertText" || !text || main.empty || ranges.length > 1 || view.state.readOnly)
      return false;
    const insert = () =>
      view.state.update(view.state.replaceSelection(text), { userEvent: "input.type", scrollIntoView: true });
    const handlers = view.state.facet(EditorView.inputHandler);
    if (!handlers.some((handle) => handle(view, main.from, main.to, text, insert))) view.dispatch(insert());
    event.preventDefault();
    return true;
  },
});

/** Puts an editor into a shadow root. */
export function createEditor(root: ShadowRoot, { text, label, isReadOnly = false, ...on }: EditorOptions): Editor {
  const readOnly = new Compartment();
  const permit = (no: boolean) => [EditorState.readOnly.of(no), EditorView.contentAttributes.of(attributes(label, no))];
  let isTold = true;
  const view = new EditorView({
    root,
    parent: root,
    dispatchTransactions(transactions, view) {
      try {
        view.update(transactions);
      } catch (error) {
        // Otherwise, the text that was typed would be gone.
        const last = transactions.at(-1);
        if (last?.docChanged && isTold) on.onChange?.(last.newDoc.toString());
        on.onFail?.(error);
      }
    },
    state: EditorState.create({
      doc: text,
      extensions: [
        common,
        history(),
        replacing,
        drawSelection(),
        bracketMatching(),
        closeBrackets(),
        completion,
        indentOnInput(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        highlightSelectionMatches(),
        search({ top: true }),
        lintGutter(),
        EditorView.lineWrapping,
        readOnly.of(permit(isReadOnly)),
        keymap.of([
          // The page runs the script, and has its own save.
          { key: "Mod-Enter", run: () => true },
          ...closeBracketsKeymap,
          ...defaultKeymap,
          ...searchKeymap,
          ...historyKeymap,
          ...lintKeymap,
          indentWithTab,
        ]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && isTold) on.onChange?.(update.state.doc.toString());
        }),
      ],
    }),
  });
  return {
    setText(next) {
      if (next === view.state.doc.toString()) return;
      isTold = false;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } });
      isTold = true;
    },
    setMarks(marks) {
      const diagnostics = marks.map((mark): Diagnostic => {
        const { from, to } = range(view.state.doc, mark);
        return { from, to, severity: "error", message: mark.message };
      });
      view.dispatch(setDiagnostics(view.state, diagnostics));
    },
    setReadOnly(no) {
      if (no !== view.state.readOnly) view.dispatch({ effects: readOnly.reconfigure(permit(no)) });
    },
    jump(line, column) {
      const anchor = range(view.state.doc, { line, column, message: "" }).from;
      view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: "center" }) });
      view.focus();
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

/** Two texts to compare. */
export interface Texts {
  readonly before: string;
  readonly after: string;
  readonly labels: readonly [string, string];
  /** Side by side; else one below the other. */
  readonly isWide: boolean;
}

/** Shows two texts with their differences. Returns what takes them away. */
export function createCompare(root: ShadowRoot, { before, after, labels, isWide }: Texts): () => void {
  const collapseUnchanged = { margin: 3, minSize: 6 };
  const extensions = (label: string) => [
    common,
    EditorView.lineWrapping,
    EditorState.readOnly.of(true),
    EditorView.contentAttributes.of(attributes(label, true)),
  ];
  if (!isWide) {
    const merge = unifiedMergeView({ original: before, mergeControls: false, collapseUnchanged });
    const view = new EditorView({
      root,
      parent: root,
      doc: after,
      extensions: [extensions(labels.join(" / ")), merge],
    });
    return () => view.destroy();
  }
  const view = new MergeView({
    a: { doc: before, extensions: extensions(labels[0]) },
    b: { doc: after, extensions: extensions(labels[1]) },
    root,
    parent: root,
    collapseUnchanged,
  });
  return () => view.destroy();
}

/** Shows a character that can't be seen by its number, as the console does elsewhere. Many fonts lack its picture. */
function nameOf(code: number, description: string | null): HTMLElement {
  const name = document.createElement("span");
  name.className = "cm-specialChar";
  name.textContent = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  name.title = description ?? name.textContent;
  return name;
}

function attributes(label: string, isReadOnly: boolean): Record<string, string> {
  const spelling = { spellcheck: "false", autocapitalize: "off", autocorrect: "off", translate: "no" };
  if (isReadOnly) return { ...spelling, "aria-label": label, "aria-readonly": "true" };
  return { ...spelling, "aria-label": label, "aria-description": LEAVE };
}

/** Returns the word, or else the character, at a place. */
function range(doc: Text, { line, column = 1 }: Mark): { from: number; to: number } {
  const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
  // A column counts characters, a position units of UTF-16.
  const before = [...at.text].slice(0, Math.max(column - 1, 0)).join("");
  const from = Math.min(at.from + before.length, at.to);
  const word = /^[\p{L}\p{N}_]+|^./u.exec(at.text.slice(before.length))?.[0] ?? "";
  return word ? { from, to: from + word.length } : { from: Math.max(at.from, from - 1), to: from };
}
