/**
 * The scripts of the store's page. They run as the caller, by `play` and `watch`. Values come and go as JSON text, because a
 * number in JavaScript doesn't know `1.0` from `1`.
 */

/** Returns a value as JSON text: Rhai's `to_json` is for maps alone. */
const TO_TEXT = "fn text_of(value) { let text = #{ v: value }.to_json(); text.sub_string(5, text.len() - 6) }\n";

/** The rows of a page at most, while its end isn't known yet, and once it is. */
export const PAGE = 100;
export const FULL_PAGE = 400;
/** A group's keys are counted up to this number. */
export const MOST_COUNTED = 1000;
/** The characters of a value that a list shows. */
const PREVIEW = 160;

/** The arguments of `LEVEL`. */
export interface LevelArgs {
  /** Only keys that begin with this. */
  readonly prefix: string;
  /** The page: keys from `start` on, before `end`; null: no bound. */
  readonly start: string | null;
  readonly end: string | null;
  readonly limit: number;
  /** True: keys only, however deep. False: keys with another `/` or `:` after the prefix come as groups. */
  readonly flat: boolean;
  /** False: without their values, which may be too many bytes for one run. */
  readonly values: boolean;
}

/** A key of the store. `value` is the beginning of its JSON text, `size` the length of all of it. */
export interface Leaf {
  readonly key: string;
  readonly value?: string;
  readonly size?: number;
  /** When it expires, in milliseconds since 1970. */
  readonly expires?: number;
}

/** All keys that begin with the same text up to a delimiter. */
export interface Group {
  readonly group: string;
  readonly count: number;
}

/** The result of `LEVEL`: a page's rows, and where the next page begins if there is one. */
export interface LevelPage {
  readonly rows: (Leaf | Group)[];
  readonly next: string | null;
}

/** Lists a level of the tree. It skips from group to group: `0` and `;` are the characters after the delimiters. */
export const LEVEL = String.raw`let prefix = ARGS.prefix;
let skip = prefix.len();
let from = ARGS.start ?? "";
let rows = [];
let next = ();
let step = 1;
while next == () {
    let range = #{ prefix: prefix, start: from, end: ARGS.end, limit: step };
    let found = if step > 1 && ARGS.values { store.scan(range) } else { store.keys(range) };
    let jumped = false;
    for each in found {
        let key = if type_of(each) == "map" { each.key } else { each };
        if key < from { continue }
        let cut = -1;
        if !ARGS.flat {
            let rest = key.sub_string(skip);
            let slash = rest.index_of("/");
            let colon = rest.index_of(":");
            cut = if slash < 0 || colon >= 0 && colon < slash { colon } else { slash };
        }
        let group = if cut < 0 { () } else { key.sub_string(0, skip + cut + 1) };
        if rows.len() == ARGS.limit { next = group ?? key; break }
        if group != () {
            rows.push(#{ group: group, count: store.count(#{ prefix: group, limit: ${MOST_COUNTED + 1} }) });
            from = group.sub_string(0, skip + cut) + if key[skip + cut] == '/' { "0" } else { ";" };
            jumped = true;
        } else if step == 1 {
            break
        } else {
            let row = #{ key: key };
            if ARGS.values {
                let text = #{ v: each.value }.to_json();
                row.size = text.len() - 6;
                row.value = text.sub_string(5, if row.size > ${PREVIEW} { ${PREVIEW} } else { row.size });
                let ttl = store.ttl(key);
                if ttl != () { row.expires = now() + ttl }
            }
            rows.push(row);
            from = key + "\x00";
        }
    }
    if found.len() < step && !jumped { break }
    step = if jumped { 1 } else if step == 1 { 16 } else { 64 };
}
#{ rows: rows, next: next }`;

/** The result of `READ`; null if there is no such key. */
export interface Entry {
  /** The value as JSON text. */
  readonly text: string;
  readonly expires: number | null;
}

/** Reads a key. */
export const READ = `${TO_TEXT}if !store.has(ARGS.key) { return }
let ttl = store.ttl(ARGS.key);
#{ text: text_of(store.get(ARGS.key)), expires: if ttl == () { () } else { now() + ttl } }`;

/** The arguments of `WRITE`. */
export interface WriteArgs {
  readonly key: string;
  /** The text as it was shown; null if there was no such key. */
  readonly was: string | null;
  readonly text: string;
  /** How long it lives, like `1h`; "": for good; null: as before. */
  readonly ttl: string | null;
}

/** The result of `WRITE`: `conflict` if the key has another value than was shown, then `text` is that (null: there is none). */
export interface Written {
  readonly conflict: boolean;
  readonly text: string | null;
}

/** Sets a key, if its value is still what was shown. */
export const WRITE = `${TO_TEXT}let text = if store.has(ARGS.key) { text_of(store.get(ARGS.key)) } else { () };
if text != ARGS.was { return #{ conflict: true, text: text } }
let ttl = if ARGS.ttl == () { store.ttl(ARGS.key) } else if ARGS.ttl == "" { () } else { ARGS.ttl };
if ttl == () { store.set(ARGS.key, parse_json(ARGS.text)) } else { store.set(ARGS.key, parse_json(ARGS.text), #{ ttl: ttl }) }
#{ conflict: false, text: text_of(store.get(ARGS.key)) }`;

/** Sets how long a key lives (`ttl`, "" for good), whatever its value is. Returns false if there is no such key. */
export const EXPIRE = `if !store.has(ARGS.key) { return false }
let value = store.get(ARGS.key);
if ARGS.ttl == "" { store.set(ARGS.key, value) } else { store.set(ARGS.key, value, #{ ttl: ARGS.ttl }) }
true`;

/** Deletes a key. Returns false if there was none. */
export const DELETE = "let had = store.has(ARGS.key); store.delete(ARGS.key); had";

/** Counts the keys that begin with a text. */
export const COUNT = "store.count(ARGS.prefix)";

/** The keys that one run of `DELETE_PREFIX` deletes. */
const BATCH = 50_000;

/** The result of `DELETE_PREFIX`: how many keys there were before, and how many it has deleted. */
export interface PrefixDeleted {
  readonly found: number;
  readonly deleted: number;
}

/** Deletes keys that begin with a text, if there are no more than `expect`; a bounded number of them in one run. */
export const DELETE_PREFIX = `let found = store.count(ARGS.prefix);
if found > ARGS.expect { return #{ found: found, deleted: 0 } }
store.delete_range(#{ prefix: ARGS.prefix, limit: ${BATCH} });
#{ found: found, deleted: if found > ${BATCH} { ${BATCH} } else { found } }`;
