/** The effects of a run: the keys that it has read and written, and the events that it has sent. */

import type { KeysTouched, RunEffects } from "@circled/client";
import { href } from "../../router.js";
import { Text } from "../../ui/text.js";
import { Part } from "./parts.js";

export function Effects({ effects }: { effects: RunEffects }) {
  const { reads, writes, events, jobs, more } = effects;
  return (
    <>
      <Part title="Read" count={reads.length + (more?.reads ?? 0)}>
        <Keys list={reads.map((keys) => ({ op: "get", ...keys }))} more={more?.reads} />
      </Part>
      <Part title="Wrote" count={writes.length + (more?.writes ?? 0)}>
        <Keys list={writes} more={more?.writes} />
      </Part>
      {events.length > 0 && (
        <Part title="Sent" count={events.length + (more?.events ?? 0)}>
          <ul class="effects">
            {events.map((topic, i) => (
              <li key={`${i}`}>
                <span class="op">emit</span>
                <Text value={topic} />
              </li>
            ))}
            <More count={more?.events} />
          </ul>
        </Part>
      )}
      {jobs > 0 && (
        <p class="hint">
          It has submitted {jobs} job{jobs === 1 ? "" : "s"}.
        </p>
      )}
    </>
  );
}

function Keys({ list, more }: { list: readonly ({ readonly op: string } & KeysTouched)[]; more: number | undefined }) {
  if (list.length === 0) return <p class="hint">Nothing</p>;
  return (
    <ul class="effects">
      {list.map(({ op, ...keys }, i) => (
        <li key={`${i}`}>
          <span class="op">{typeof keys.key === "string" || op !== "get" ? op.replace("_", " ") : "range"}</span>
          {op !== "push" && typeof keys.key === "string" ? (
            <a href={href("store", [keys.key])}>
              <Text value={keys.key} />
            </a>
          ) : (
            <Text value={nameOf(keys)} />
          )}
        </li>
      ))}
      <More count={more} />
    </ul>
  );
}

function More({ count }: { count: number | undefined }) {
  return count ? <li class="hint">and {count.toLocaleString("en")} more</li> : null;
}

/** Returns a key with dots behind it, for the new key of a push; or a range, in words. */
function nameOf({ key, start, end, prefix }: KeysTouched): string {
  if (typeof key === "string") return `${key}…`;
  if (typeof prefix === "string") return start && start !== prefix ? `${prefix}…, from ${start}` : `${prefix}…`;
  if (!start && !end) return "all keys";
  return `${start ? `from ${start}` : "from the first"}${end ? `, before ${end}` : " to the last"}`;
}
