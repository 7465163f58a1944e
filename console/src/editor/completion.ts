/** The functions and constants that every script has, offered as one types. docs/SCRIPTS.md explains them. */

import {
  autocompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
} from "@codemirror/autocomplete";
import { syntaxTree } from "@codemirror/language";

const STORE = listed("function", {
  get: "(key, default?) reads a value",
  has: "(key) tells if there is one",
  set: "(key, value, #{ttl}?) writes",
  delete: "(key) deletes",
  incr: "(key, n) adds, and returns the sum",
  add: "(key, n) adds at the commit, without a conflict",
  push: "(prefix, value) writes under a new key",
  keys: "(prefix or range) lists keys",
  scan: "(#{prefix, start, end, after, limit, reverse}) reads a range",
  count: "(prefix or range) counts keys",
  delete_range: "(range) deletes",
  ttl: "(key) tells when it expires",
});

const MEMBERS = listed("function", { has: "(key) tells if it is a member's", list: "() lists owner and members" });

const GLOBAL = [
  ...listed("constant", {
    ARGS: "what the caller has sent",
    CALLER_ID: "the caller's key",
    CALLER_ROLE: "guest, member or owner",
    CONTEXT_ID: "the circle's key",
    EVENT: "what a webhook has brought",
    JOB: "only in durable jobs",
    JOB_ID: "this run's job",
  }),
  ...listed("function", {
    emit: "(topic, value) sends an event",
    emit_to: "(pubkey, topic, value) sends it to one caller",
    require: "(role) ends the run for lower roles",
    now: "() milliseconds since 1970",
    iso: "(ms) a time as text",
    parse_time: "(text) a time in milliseconds",
    random: "(from, to)",
    uuid: "()",
    sha256: "(x)",
    hmac_sha256: "(key, x)",
    hex: "(x)",
    base64: "(x)",
    from_hex: "(text)",
    from_base64: "(text)",
    verify: "(pubkey, text, signature)",
    print: "(x) writes to the log",
    debug: "(x) writes to the log",
    parse_json: "(text)",
    type_of: "(x)",
  }),
  ...listed("namespace", { store: "the circle's store", members: "the circle's members" }),
  ...listed(
    "keyword",
    Object.fromEntries(
      "let const if else switch while loop for in return throw try catch fn import as"
        .split(" ")
        .map((word) => [word, ""]),
    ),
  ),
];

function listed(type: string, named: Record<string, string>): Completion[] {
  return Object.entries(named).map(([label, detail]) => ({ label, type, detail }));
}

function complete(context: CompletionContext): CompletionResult | null {
  if (/string|comment/i.test(syntaxTree(context.state).resolveInner(context.pos, -1).name)) return null;
  const word = context.matchBefore(/(\b(store|members)\.)?\w*$/);
  if (!word || (word.from === word.to && !context.explicit)) return null;
  const dot = word.text.indexOf(".");
  const from = word.from + dot + 1;
  if (dot >= 0) return { from, options: word.text.startsWith("store") ? STORE : MEMBERS, validFor: /^\w*$/ };
  const before = context.state.sliceDoc(Math.max(0, from - 1), from);
  return before === "." || /^\d/.test(word.text) ? null : { from, options: GLOBAL, validFor: /^\w*$/ };
}

/** Offers them while one types, but not in strings and comments; Ctrl-Space asks for them. */
export const completion = autocompletion({ override: [complete], icons: false });
