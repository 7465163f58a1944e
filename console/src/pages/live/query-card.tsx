import type { Snapshot } from "@circled/client";
import { useEffect, useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { Status } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { ErrorNote } from "../../ui/error.js";
import { formatJson, JsonView } from "../../ui/json.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";
import { type LiveQuery, watchOf } from "./queries.js";

/** A value that a query had. */
interface Past {
  readonly value: unknown;
  readonly at: number | undefined;
  readonly seen: number;
}

/** The earlier values that are kept. */
const MOST_PAST = 20;

interface Followed {
  readonly now: Snapshot | undefined;
  readonly changes: number;
  /** The values, the newest first. */
  readonly past: readonly Past[];
}

/** Follows a query, and counts how often its value has changed. */
function useFollowed({ circle }: Session, query: LiveQuery): Followed {
  const [followed, setFollowed] = useState<Followed>({ now: undefined, changes: 0, past: [] });
  useEffect(() => {
    const [watched, args] = watchOf(query);
    return circle.watch(watched, args).subscribe((now) =>
      setFollowed((before) => {
        const isOther = now.value !== undefined && now.value !== before.past[0]?.value;
        if (!isOther) return { ...before, now };
        const past = [{ value: now.value, at: now.at, seen: Date.now() }, ...before.past].slice(0, MOST_PAST);
        return { now, past, changes: before.changes + (before.past.length > 0 ? 1 : 0) };
      }),
    );
  }, [circle, query]);
  return followed;
}

/** A query with its value as it is now. */
export function QueryCard({ session, query, onStop }: { session: Session; query: LiveQuery; onStop: () => void }) {
  const { now, changes, past } = useFollowed(session, query);
  const [isOpen, setOpen] = useState(false);
  const [latest] = past;
  const title = query.name ?? query.script?.trim().split("\n")[0] ?? "";
  return (
    <section class="panel live-card" aria-label={`Query ${title}`}>
      <header class="live-card-head">
        <h2 class="live-title">
          <Text value={title} />
        </h2>
        <Status value={now?.status ?? "loading"} />
        <Button kind="quiet" small label="Stop watching" class="icon-only" onClick={onStop}>
          ✕
        </Button>
      </header>
      {query.args && (
        <p class="live-args muted">
          with{" "}
          <code>
            <Text value={query.args} />
          </code>
        </p>
      )}
      <ErrorNote error={now?.error} />
      {latest && (
        <>
          <div class={now?.status === "live" ? "live-value" : "live-value stale"}>
            <JsonView value={latest.value} />
          </div>
          <footer class="row live-facts muted">
            <span>
              <b key={changes} class={changes > 0 ? "live-flash" : undefined}>
                {changes.toLocaleString("en")}
              </b>{" "}
              {changes === 1 ? "change" : "changes"}
            </span>
            {latest.at !== undefined && <span>commit {latest.at.toLocaleString("en")}</span>}
            <span>
              seen <Time at={latest.seen} />
            </span>
            <span class="grow" />
            {past.length > 1 && (
              <Button kind="quiet" small expanded={isOpen} onClick={() => setOpen(!isOpen)}>
                Earlier values
              </Button>
            )}
            <CopyButton text={() => formatJson(latest.value)} label="Copy the value" />
          </footer>
          {isOpen && (
            <ol class="live-past">
              {past.slice(1).map(({ value, at, seen }) => (
                <li key={seen}>
                  <span class="muted">
                    {at !== undefined && `commit ${at.toLocaleString("en")}, `}
                    <Time at={seen} />
                  </span>
                  <JsonView value={value} depth={0} />
                </li>
              ))}
            </ol>
          )}
        </>
      )}
    </section>
  );
}
