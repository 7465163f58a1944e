/** One job, as it goes on. */

import type { Job } from "@circled/client";
import { useEffect, useState } from "preact/hooks";
import { may, type Session } from "../../session.js";
import { isOpen } from "./job.js";

/** A job at one moment. */
export interface Followed {
  readonly job?: Job;
  readonly error?: Error;
}

/** How long one question waits for the end of a job, in milliseconds. */
const WAIT = 10_000;

/** Follows a job, by its events; for those who get none, by waiting for its end. The second item asks anew. */
export function useJob(session: Session, id: string): [Followed, () => void] {
  const [followed, set] = useState<Followed & { id?: string }>({});
  const [asked, ask] = useState(0);
  // Another number asks anew
  useEffect(() => {
    const stop = new AbortController();
    const tell = (change: Followed) => stop.signal.aborted || set((last) => merged(last, id, change));
    const jobs = may(session, "subscribe").ok
      ? byEvents(session, id, stop.signal, tell)
      : byWaiting(session, id, stop.signal, tell);
    jobs.catch((error) => tell({ error }));
    return () => stop.abort();
  }, [session, id, asked]);
  return [followed.id === id ? followed : {}, () => ask(asked + 1)];
}

/** What an event leaves out stays as it was. */
function merged(last: Followed & { id?: string }, id: string, { job, error }: Followed): Followed & { id: string } {
  const before = last.id === id ? last.job : undefined;
  if (!job) return { id, ...(before && { job: before }), ...(error && { error }) };
  return { id, job: { ...before, ...job } };
}

type Tell = (change: Followed) => void;

async function byEvents({ circle }: Session, id: string, signal: AbortSignal, tell: Tell): Promise<void> {
  const events = circle.events<Job>(`job.${id}`, { signal });
  await events.started;
  let isAsked = false;
  let isDue = false;
  const ask = async () => {
    if (isAsked) {
      isDue = true;
      return;
    }
    isAsked = true;
    do {
      isDue = false;
      await whole(circle, id, signal).then(
        (job) => tell({ job }),
        (error) => tell({ error }),
      );
    } while (isDue && !signal.aborted);
    isAsked = false;
  };
  void ask();
  for await (const event of events) {
    if (!("gap" in event)) tell({ job: event.data });
    // Events have no logs and no value.
    void ask();
  }
}

async function byWaiting({ circle }: Session, id: string, signal: AbortSignal, tell: Tell): Promise<void> {
  let job = await whole(circle, id, signal);
  tell({ job });
  while (isOpen(job) && !signal.aborted) {
    await circle.getJob({ job_id: id, wait: WAIT }, { signal });
    job = await whole(circle, id, signal);
    tell({ job });
  }
}

/** Returns a job with all that there is of it: what is gone since the last time is undefined. */
async function whole(circle: Session["circle"], id: string, signal: AbortSignal): Promise<Job> {
  const job = await circle.getJob({ job_id: id }, { signal });
  return { error: null, ended_at: null, due: null, output: null, logs: [], value: null, ...job };
}
