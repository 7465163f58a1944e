/** Redelivers all deliveries that a filter shows: counts them first, asks, and goes on one by one. */

import type { Circle, JobStatus } from "@circled/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../ui/button.js";
import { Dialog } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Text } from "../../ui/text.js";

export interface DeliveryFilter {
  readonly provider?: string | undefined;
  readonly status?: JobStatus | undefined;
}

const PAGE = 500;
/** How many are asked for at the same time. */
const AT_ONCE = 4;

interface Props {
  circle: Circle;
  filter: DeliveryFilter;
  onClose(): void;
}

export function RedeliverAll({ circle, filter, onClose }: Props) {
  const [ids, setIds] = useState<readonly string[]>([]);
  const [isCounted, setCounted] = useState(false);
  const [done, setDone] = useState<{ redelivered: number; failed: number; isOver: boolean }>();
  const [error, setError] = useState<unknown>();
  const stop = useRef(new AbortController());

  // Once, when it is opened
  useEffect(() => {
    const { signal } = stop.current;
    const count = async () => {
      const found: string[] = [];
      let cursor: string | null | undefined;
      do {
        const page = await circle.listDeliveries(
          {
            limit: PAGE,
            ...(filter.provider && { provider: filter.provider }),
            ...(filter.status && { status: filter.status }),
            ...(cursor && { cursor }),
          },
          { signal },
        );
        found.push(...page.deliveries.map(({ job_id }) => job_id));
        cursor = page.cursor;
        setIds([...found]);
      } while (cursor && !signal.aborted);
      setCounted(true);
    };
    count().catch((error) => signal.aborted || setError(error));
    return () => stop.current.abort();
  }, []);

  const run = async () => {
    // The oldest first, as they came.
    const left = [...ids];
    let [redelivered, failed] = [0, 0];
    const { signal } = stop.current;
    const show = (isOver: boolean) => setDone({ redelivered, failed, isOver });
    show(false);
    const worker = async () => {
      for (let id = left.pop(); id && !signal.aborted; id = left.pop()) {
        try {
          await circle.redeliver({ job_id: id });
          redelivered++;
        } catch (error) {
          failed++;
          setError((first: unknown) => first ?? error);
        }
        show(false);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    show(true);
  };

  const which = [filter.status, filter.provider && `of ${filter.provider}`].filter(Boolean).join(", ");
  const total = ids.length.toLocaleString("en");
  return (
    <Dialog title="Redeliver all" onClose={onClose}>
      <div class="stack">
        {!done && (
          <p>
            {isCounted ? <strong>{total}</strong> : `Counting… ${total}`} {ids.length === 1 ? "delivery" : "deliveries"}
            {which && (
              <>
                {" "}
                (<Text value={which} />)
              </>
            )}
            {isCounted &&
              ids.length > 0 &&
              ". Each runs once more as a new job, with the script as it is now, the oldest first."}
            {isCounted &&
              filter.status !== "dead" &&
              ids.length > 0 &&
              " Those that have ended well run a second time, too."}
          </p>
        )}
        {done && (
          <div aria-live="polite">
            <progress max={ids.length || 1} value={done.redelivered + done.failed} aria-label="Redelivered" />
            <p>
              {done.redelivered.toLocaleString("en")} of {total} redelivered
              {done.failed > 0 && `, ${done.failed.toLocaleString("en")} refused`}.
            </p>
          </div>
        )}
        {Boolean(error) && <ErrorNote error={error} />}
        <div class="row end">
          {done && !done.isOver ? (
            <Button onClick={() => stop.current.abort()}>Stop</Button>
          ) : (
            <Button onClick={onClose}>{done ? "Close" : "Cancel"}</Button>
          )}
          {isCounted && ids.length > 0 && !done && (
            <Button kind="primary" onClick={run}>
              Redeliver {total}
            </Button>
          )}
        </div>
      </div>
    </Dialog>
  );
}
