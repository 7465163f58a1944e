/** Other jobs of the same event: the server doesn't say which job was redelivered, so they are found by provider and event id. */

import type { Job } from "@circled/client";
import { href, route } from "../../router.js";
import { may, type Session } from "../../session.js";
import { useAsync } from "../../ui/use-query.js";
import { isDelivery, isOpen, JobBadge, jobOf, mayRetry, providerOf } from "./job.js";

/** How many deliveries are looked through, the newest first. */
const LIMIT = 500;

/** What is known of other jobs of a delivery's event. */
export interface Others {
  /** The one that matters most: finished, or else not over yet. */
  readonly job?: Job | undefined;
  /** True if all later deliveries were looked through. */
  readonly isKnown: boolean;
}

/** Returns true if the effects of a job are there, or may still come. */
export const hasEffects = (job: Job): boolean => job.status === "finished" || isOpen(job);

const sameEvent = (one: Job, other: Job): boolean =>
  Boolean(one.event_id) &&
  one.job_id !== other.job_id &&
  one.event_id === other.event_id &&
  providerOf(one) === providerOf(other);

/** Returns the job of the same event that matters most. */
export function otherOf(job: Job, all: readonly Job[]): Job | undefined {
  const others = all.filter((other) => isDelivery(other) && sameEvent(job, other));
  return others.find(({ status }) => status === "finished") ?? others.find(isOpen) ?? others[0];
}

/** Looks for other jobs of a delivery's event. */
export async function findOthers(session: Session, job: Job): Promise<Others> {
  if (!isDelivery(job)) return { isKnown: true };
  if (!job.event_id || !may(session, "manage").ok) return { isKnown: false };
  const filter = { provider: providerOf(job), limit: LIMIT };
  const { deliveries, cursor } = await session.circle.listDeliveries(filter);
  const other = otherOf(
    job,
    deliveries.map((delivery) => jobOf(session.pk, delivery)),
  );
  const last = deliveries.at(-1);
  return { job: other, isKnown: !cursor || !last || last.job_id <= job.job_id };
}

/** Counts the dead deliveries whose event has another job with effects, among the newest deliveries. */
export async function countRedelivered({ circle, pk }: Session, name: string | undefined): Promise<Counted> {
  const { deliveries, cursor } = await circle.listDeliveries({ limit: LIMIT });
  const all = deliveries.map((delivery) => jobOf(pk, delivery));
  const dead = all.filter((job) => job.status === "dead" && (!name || job.name === name));
  const redelivered = dead.filter((job) => {
    const other = otherOf(job, all);
    return other && hasEffects(other);
  });
  return { count: redelivered.length, isKnown: !cursor && dead.every(({ event_id }) => event_id) };
}

/** How many dead deliveries were redelivered. */
export interface Counted {
  readonly count: number;
  readonly isKnown: boolean;
}

/** Says of a delivery that its event has another job, or that this isn't known; and what the buttons do. */
export function Redelivered({ session, job, rows }: { session: Session; job: Job; rows: readonly Job[] }) {
  const { value } = useAsync(() => findOthers(session, job), [session, job.job_id, job.status]);
  const found = otherOf(job, value?.job ? [...rows, value.job] : rows);
  // The list is told of changes.
  const other = rows.find(({ job_id }) => job_id === found?.job_id) ?? found;
  return (
    <div class="stack tight">
      <p class="muted small">
        Redeliver makes a new job with the newest script; this record stays.
        {mayRetry(job) && " Retry runs this job again, with the newest script."}
      </p>
      {other && (
        <p>
          <a href={href("deliveries", [other.job_id], Object.fromEntries(route.value.query))}>
            {other.job_id > job.job_id ? "Redelivered" : "An earlier job of this event"}
          </a>
          : <JobBadge status={other.status} />
        </p>
      )}
      {!other && value && !value.isKnown && mayRetry(job) && <p class="muted small">{UNKNOWN}</p>}
    </div>
  );
}

/** Says why it isn't known if a delivery was redelivered. */
export const UNKNOWN =
  "It isn't known if it was redelivered: it has no event id, you may not see the others, or more than 500 came since.";
