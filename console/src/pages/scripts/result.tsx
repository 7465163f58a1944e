/** The result of a run: its value, its logs, its time, what it has read and written; or its error. */

import type { Played } from "@circled/client";
import { Badge } from "../../ui/badge.js";
import { CopyButton } from "../../ui/copy.js";
import { ErrorNote } from "../../ui/error.js";
import { formatJson, JsonView } from "../../ui/json.js";
import { Text } from "../../ui/text.js";
import { Effects } from "./effects.js";
import { Part } from "./parts.js";

/** How a run has ended, and after how many milliseconds. */
export type Outcome = { readonly time: number } & (
  | { readonly result: Played }
  /** `isShown`: the editor shows what has failed. */
  | { readonly error: Error; readonly isShown: boolean }
);

export function Result({ outcome, onJump }: { outcome: Outcome; onJump: (line: number, column?: number) => void }) {
  const time = <span class="hint">{outcome.time.toLocaleString("en")} ms, there and back</span>;
  if ("error" in outcome) {
    const { data } = outcome.error as {
      data?: { line?: number; column?: number; logs?: string[]; thrown?: unknown } | null;
    };
    return (
      <section class="stack result" aria-label="Result">
        <div class="row spread">
          <h3>Failed</h3>
          {time}
        </div>
        <ErrorNote error={outcome.error} />
        {data?.line && outcome.isShown && (
          <button type="button" class="link" onClick={() => onJump(data.line ?? 1, data.column)}>
            Go to line {data.line}
          </button>
        )}
        {data?.thrown !== undefined && data.thrown !== null && (
          <Part title="Thrown">
            <JsonView value={data.thrown} />
          </Part>
        )}
        <Logs lines={data?.logs ?? []} />
      </section>
    );
  }
  const { value, output, logs, effects, replayed } = outcome.result;
  return (
    <section class="stack result" aria-label="Result" aria-live="polite">
      <div class="row spread">
        <h3>Value</h3>
        <span class="row">
          {replayed && <Badge>of an earlier run</Badge>}
          {time}
          <CopyButton text={() => formatJson(value)} label="Copy the value" />
        </span>
      </div>
      {output === "" && value === null ? <p class="hint">No value: ()</p> : <JsonView value={value} />}
      <Logs lines={logs} />
      {effects && <Effects effects={effects} />}
    </section>
  );
}

function Logs({ lines }: { lines: readonly string[] }) {
  if (lines.length === 0) return null;
  return (
    <Part title="Logs" count={lines.length}>
      <ol class="logs">
        {lines.map((line, i) => (
          <li key={i}>
            <Text value={line} lines />
          </li>
        ))}
      </ol>
    </Part>
  );
}
