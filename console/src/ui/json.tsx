import type { Json } from "@circled/client";
import { parse } from "@circled/client/json";
import { useState } from "preact/hooks";
import { Text, visible } from "./text.js";

/** Returns a value as indented JSON. A bigint keeps all its digits. */
export function formatJson(value: unknown, indent = ""): string {
  if (typeof value === "bigint") return value.toString();
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = `${indent}  `;
  const list = Array.isArray(value);
  const members = list
    ? value.map((member) => formatJson(member, inner))
    : Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => `${JSON.stringify(key)}: ${formatJson(member, inner)}`);
  const [open, close] = list ? "[]" : "{}";
  return members.length ? `${open}\n${inner}${members.join(`,\n${inner}`)}\n${indent}${close}` : `${open}${close}`;
}

/** Parses JSON. An integer past 2^53 is a bigint. Returns the error, if the text is none. */
export function parseJson(text: string): Json | Error {
  try {
    return parse(text);
  } catch (error) {
    return error as Error;
  }
}

/** How many members are shown before a button shows more. */
const PAGE = 100;
/** How many characters of a string are shown before a button shows the others. */
const LONG = 2000;

/** A value as a tree that opens and closes. All of it is text. */
export function JsonView({ value, depth = 2 }: { value: unknown; depth?: number }) {
  return (
    <div class="json">
      <Node value={value} depth={depth} />
    </div>
  );
}

function Node({ value, name, depth }: { value: unknown; name?: string; depth: number }) {
  const label = name === undefined ? null : <Name name={name} />;
  if (value === null || typeof value !== "object") {
    return (
      <div class="json-leaf">
        {label}
        <Scalar value={value} />
      </div>
    );
  }
  return <Branch value={value} label={label} name={name} depth={depth} />;
}

function Name({ name }: { name: string }) {
  return (
    <span class="json-name">
      <Text value={name} />:{" "}
    </span>
  );
}

function Scalar({ value }: { value: unknown }) {
  const [isWhole, setWhole] = useState(false);
  if (typeof value !== "string") return <span class={`json-${typeof value}`}>{String(value)}</span>;
  const isCut = !isWhole && value.length > LONG;
  return (
    <span class="json-string">
      "<Text value={JSON.stringify(isCut ? value.slice(0, LONG) : value).slice(1, -1)} />"
      {isCut && (
        <button type="button" class="link" onClick={() => setWhole(true)}>
          … {(value.length - LONG).toLocaleString("en")} more characters
        </button>
      )}
    </span>
  );
}

interface BranchProps {
  readonly value: object;
  readonly label: preact.ComponentChild;
  readonly name: string | undefined;
  readonly depth: number;
}

function Branch({ value, label, name, depth }: BranchProps) {
  const list = Array.isArray(value);
  const members: [string, unknown][] = Object.entries(value);
  const [isOpen, setOpen] = useState(depth > 0 && members.length <= PAGE);
  const [shown, setShown] = useState(PAGE);
  if (members.length === 0) {
    return (
      <div class="json-leaf">
        {label}
        {list ? "[]" : "{}"}
      </div>
    );
  }
  const count = `${members.length} ${list ? "item" : "member"}${members.length === 1 ? "" : "s"}`;
  return (
    <div>
      <button
        type="button"
        class="json-toggle"
        aria-expanded={isOpen}
        aria-label={`${name === undefined ? "" : visible(name)} ${count}`.trim()}
        onClick={() => setOpen(!isOpen)}
      >
        {label}
        {list ? "[" : "{"}
        {!isOpen && <span class="json-count"> {count} </span>}
        {!isOpen && (list ? "]" : "}")}
      </button>
      {isOpen && (
        <div class="json-members">
          {members.slice(0, shown).map(([key, member]) => (
            <Node key={key} value={member} depth={depth - 1} {...(list ? {} : { name: key })} />
          ))}
          {members.length > shown && (
            <button type="button" class="link" onClick={() => setShown(shown + 10 * PAGE)}>
              {(members.length - shown).toLocaleString("en")} more
            </button>
          )}
        </div>
      )}
      {isOpen && <div class="json-close">{list ? "]" : "}"}</div>}
    </div>
  );
}
