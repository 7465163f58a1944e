/** Runs all dead jobs again: counts them first, asks, and goes on by pages. */

import { ConflictError, type JobKind } from "@circled/client";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Dialog } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Text } from "../../ui/text.js";
import { type Counted, countRedelivered } from "./redelivered.js";

/** Which dead jobs. */
export interface Dead {
  readonly kind?: JobKind | undefined;
  readonly name?: string | undefined;
}

interface Progress {
  readonly retried: number;
  readonly failed: number;
  readonly error?: string | undefined;
  readonly isOver: boolean;
}

/** The dialog that counts the dead jobs, asks, and shows how far it is. */
export function RetryDead({ session, dead, onClose }: { session: Session; dead: Dead; onClose(): void }) {
  const { circle } = session;
  const [count, setCount] = useState<number>();
  const [redelivered, setRedelivered] = useState<Counted>({ count: 0, isKnown: true });
  const [isSure, setSure] = useState(false);
  const [progress, setProgress] = useState<Progress>();
  const [error, setError] = useState<unknown>();
  const stop = useRef(new AbortController());
  const which = { ...(dead.kind && { kind: dead.kind }), ...(dead.name && { name: dead.name }) };

  const ask = async () => {
    setError(undefined);
    setProgress(undefined);
    setCount(undefined);
    try {
      const ofDeliveries = dead.kind !== "submitted";
      const [counted, twice] = await Promise.all([
        circle.retryDead(which),
        // A key that may not manage doesn't see deliveries.
        ofDeliveries && countRedelivered(session, dead.name).catch(() => ({ count: 0, isKnown: false })),
      ]);
      setRedelivered(twice || { count: 0, isKnown: true });
      setCount(counted.dead ?? 0);
    } catch (error) {
      setError(error);
    }
  };
  // Once, when it is opened
  useEffect(() => {
    void ask();
    return () => stop.current.abort();
  }, []);

  const retry = async (expect: number) => {
    setError(undefined);
    let done: Progress = { retried: 0, failed: 0, isOver: false };
    setProgress(done);
    let cursor: string | null | undefined;
    try {
      do {
        const result = await circle.retryDead({ ...which, ...(cursor ? { cursor } : { expect }) });
        cursor = result.cursor;
        done = {
          retried: done.retried + result.retried,
          failed: done.failed + result.failed,
          error: done.error ?? result.error ?? undefined,
          isOver: !cursor || stop.current.signal.aborted,
        };
        setProgress(done);
      } while (!done.isOver);
    } catch (error) {
      if (error instanceof ConflictError && Number.isInteger(error.data?.dead)) {
        setProgress(undefined);
        setCount(error.data.dead);
        setError(new Error(`More are dead by now: ${error.data.dead}. Nothing was retried.`));
      } else {
        setProgress({ ...done, isOver: true });
        setError(error);
      }
    }
  };

  const of = dead.kind === "delivery" ? "deliveries" : dead.kind === "submitted" ? "submitted jobs" : "jobs";
  const handled = progress ? progress.retried + progress.failed : 0;
  return (
    <Dialog title="Retry all that are dead" onClose={onClose}>
      <div class="stack">
        {count === undefined && !error && <p class="muted">Counting…</p>}
        {count === 0 && !progress && <p>None of the {of} is dead.</p>}
        {count !== undefined && count > 0 && !progress && (
          <p>
            <strong>{count.toLocaleString("en")}</strong> of the {of} {count === 1 ? "is" : "are"} dead
            {dead.name && (
              <>
                {" "}
                of the script <Text value={dead.name} />
              </>
            )}
            . Each runs again with its script as it is now, the oldest first.
          </p>
        )}
        {count !== undefined && count > 0 && !progress && (redelivered.count > 0 || !redelivered.isKnown) && (
          <>
            <p>
              {redelivered.count > 0 &&
                `${redelivered.count.toLocaleString("en")} of the deliveries ${redelivered.count === 1 ? "was" : "were"} redelivered already. `}
              {!redelivered.isKnown && "It isn't known of all dead deliveries if they were redelivered. "}
              The effects of those that were would happen <strong>twice</strong>.
            </p>
            <label class="row">
              <input type="checkbox" checked={isSure} onChange={(event) => setSure(event.currentTarget.checked)} />
              Retry them nevertheless
            </label>
          </>
        )}
        {progress && (
          <div aria-live="polite">
            <progress max={count || 1} value={handled} aria-label="Retried" />
            <p>
              {progress.retried.toLocaleString("en")} of {(count ?? 0).toLocaleString("en")} run again
              {progress.failed > 0 &&
                `, ${progress.failed.toLocaleString("en")} ${progress.failed === 1 ? "stays" : "stay"} dead`}
              .
            </p>
            {progress.error && (
              <p class="muted">
                The first reason: <Text value={progress.error} />
              </p>
            )}
          </div>
        )}
        {Boolean(error) && <ErrorNote error={error} />}
        <div class="row end">
          {progress && !progress.isOver ? (
            <Button onClick={() => stop.current.abort()}>Stop</Button>
          ) : (
            <Button onClick={onClose}>{progress || count === 0 ? "Close" : "Cancel"}</Button>
          )}
          {count === undefined && Boolean(error) && <Button onClick={ask}>Count again</Button>}
          {count !== undefined && count > 0 && !progress && (
            <Button
              kind="primary"
              disabled={(redelivered.count > 0 || !redelivered.isKnown) && !isSure}
              onClick={() => retry(count)}
            >
              Retry {count.toLocaleString("en")}
            </Button>
          )}
        </div>
      </div>
    </Dialog>
  );
}
