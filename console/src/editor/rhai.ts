/** Rhai for CodeMirror: which part of a script is what, and how its lines are indented. */

import { StreamLanguage, type StreamParser, type StringStream } from "@codemirror/language";

/** The construct that the reader is in. Brackets and templates nest: `${` in a template opens a bracket, so its code is read as any other. */
type Context =
  | { readonly type: "bracket"; readonly close: string; readonly indent: number }
  | { readonly type: "template" }
  | { readonly type: "string" }
  | { readonly type: "raw"; readonly end: string }
  | { readonly type: "comment"; readonly depth: number };

interface State {
  /** The innermost context is the last one. Contexts don't change, so a copy of the list is a copy of the state. */
  stack: Context[];
  isFirst: boolean;
}

const KEYWORDS = new Set(
  (
    "let const if else switch do while loop until for in continue break return throw try catch fn private import export as " +
    "global this"
  ).split(" "),
);
const CONSTANTS = new Set("ARGS CALLER_ID CALLER_ROLE CONTEXT_ID EVENT JOB JOB_ID".split(" "));
const OBJECTS = new Set(["store", "members"]);
const CLOSES: Record<string, string> = { "(": ")", "[": "]", "{": "}" };

const parser: StreamParser<State> = {
  name: "rhai",
  startState: () => ({ stack: [], isFirst: true }),
  copyState: ({ stack, isFirst }) => ({ stack: [...stack], isFirst }),
  token: advancing((stream, state) => {
    const isFirst = state.isFirst;
    state.isFirst = false;
    const top = state.stack.at(-1);
    switch (top?.type) {
      case "template":
        return template(stream, state);
      case "string":
        return string(stream, state);
      case "raw":
        return raw(stream, state, top.end);
      case "comment":
        return comment(stream, state, top.depth);
      default:
        if (isFirst && stream.match(/^\ufeff?#!/)) {
          stream.skipToEnd();
          return "meta";
        }
        return code(stream, state);
    }
  }),
  indent(state, textAfter, { unit }) {
    const top = state.stack.at(-1);
    if (!top) return 0;
    // The white space in strings and comments is the author's.
    if (top.type !== "bracket") return null;
    return textAfter.startsWith(top.close) ? top.indent : top.indent + unit;
  },
  languageData: {
    commentTokens: { line: "//", block: { open: "/*", close: "*/" } },
    closeBrackets: { brackets: ["(", "[", "{", '"', "`"] },
    indentOnInput: /^\s*[)\]}]$/,
  },
};

/** Has a reader take one character at least: CodeMirror throws if one stays where it is, and then takes no change of the text. */
export function advancing<S>(read: StreamParser<S>["token"]): StreamParser<S>["token"] {
  return (stream, state) => {
    const style = read(stream, state);
    if (stream.pos === stream.start) stream.next();
    return style;
  };
}

/** The language. */
export const rhai = StreamLanguage.define(parser);

function code(stream: StringStream, state: State): string | null {
  if (stream.eatSpace()) return null;
  if (stream.match("//")) {
    const isDoc = /[/!]/.test(stream.peek() ?? "");
    stream.skipToEnd();
    return isDoc ? "docComment" : "comment";
  }
  if (stream.match("/*")) return comment(stream, state, 1);
  const hashes = stream.match(/^(#+)"/) as RegExpMatchArray | null;
  if (hashes) return raw(stream, state, `"${hashes[1]}`);
  if (stream.match(/^0(x[\da-f_]+|o[0-7_]+|b[01_]+)/i) || stream.match(/^\d[\d_]*(\.\d[\d_]*)?(e[+-]?\d+)?/i))
    return "number";
  if (stream.match(/^'(\\(x[\da-f]{2}|u[\da-f]{4}|U[\da-f]{8}|.)|[^\\'])'/iu)) return "character";
  const word = stream.match(/^[\p{L}_][\p{L}\p{N}_]*/u) as RegExpMatchArray | null;
  if (word) return identifier(stream, word[0]);
  if (stream.match("..")) return "operator";

  const char = stream.next() as string;
  if (char === '"') {
    state.stack.push({ type: "string" });
    return string(stream, state);
  }
  if (char === "`") {
    state.stack.push({ type: "template" });
    return template(stream, state);
  }
  const close = CLOSES[char === "#" && stream.eat("{") ? "{" : char];
  if (close) {
    state.stack.push({ type: "bracket", close, indent: stream.indentation() });
    return "bracket";
  }
  if (/[)\]}]/.test(char)) {
    leave(state, char);
    return "bracket";
  }
  return /[.,;:]/.test(char) ? "punctuation" : "operator";
}

function identifier(stream: StringStream, word: string): string {
  const before = stream.string.slice(0, stream.pos - word.length).trimEnd();
  const isCalled = /^\s*!?\(/.test(stream.string.slice(stream.pos));
  if (/(^|[^.])\??\.$/.test(before)) return isCalled ? "propertyName.function" : "propertyName";
  if (word === "true" || word === "false") return "bool";
  if (KEYWORDS.has(word)) return "keyword";
  if (CONSTANTS.has(word)) return "variableName.constant";
  if (OBJECTS.has(word)) return "variableName.standard";
  if (stream.match(/^\s*::/, false)) return "namespace";
  // A name in a map.
  if (/[{,]$|^$/.test(before) && /^\s*:(?!:)/.test(stream.string.slice(stream.pos))) return "propertyName";
  return isCalled ? "variableName.function" : "variableName";
}

/** Closes the bracket that this one belongs to, unless a template is in between. */
function leave({ stack }: State, char: string): void {
  for (let i = stack.length - 1; i >= 0; i--) {
    const context = stack[i];
    if (context?.type !== "bracket") return;
    if (context.close !== char) continue;
    stack.length = i;
    return;
  }
}

function template(stream: StringStream, { stack }: State): string {
  if (stream.match("${")) {
    stack.push({ type: "bracket", close: "}", indent: stream.indentation() });
    return "bracket";
  }
  while (!stream.eol()) {
    if (stream.match("${", false)) return "string";
    if (stream.match("\\${") || stream.match("``")) continue;
    if (stream.next() !== "`") continue;
    stack.pop();
    break;
  }
  return "string";
}

const ESCAPE = /^\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[^xuU])/;

/** Reads a string in quotes. It goes on in the next line only behind a backslash. An escape that is unfinished is text. */
function string(stream: StringStream, { stack }: State): string {
  if (stream.match(ESCAPE)) return "escape";
  while (!stream.eol()) {
    if (stream.match(ESCAPE, false)) return "string";
    if (stream.match('""') || stream.next() !== '"') continue;
    stack.pop();
    return "string";
  }
  if (!stream.string.endsWith("\\")) stack.pop();
  return "string";
}

function raw(stream: StringStream, { stack }: State, end: string): string {
  if (stack.at(-1)?.type !== "raw") stack.push({ type: "raw", end });
  while (!stream.eol()) {
    if (stream.match(end)) {
      stack.pop();
      break;
    }
    stream.next();
  }
  return "string";
}

function comment(stream: StringStream, { stack }: State, depth: number): string {
  if (stack.at(-1)?.type === "comment") stack.pop();
  let open = depth;
  while (open && !stream.eol()) {
    if (stream.match("/*")) open++;
    else if (stream.match("*/")) open--;
    else stream.next();
  }
  if (open) stack.push({ type: "comment", depth: open });
  return "comment";
}
