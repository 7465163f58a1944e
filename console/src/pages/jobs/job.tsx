/** What the pages know of jobs. */

import type { Delivery, Job, JobStatus } from "@circled/client";
import { Status } from "../../ui/badge.js";

/** The statuses of jobs, those that need attention first. */
export const STATUSES = [
  "dead",
  "failed",
  "running",
  "pending",
  "finished",
  "cancelled",
] as const satisfies JobStatus[];

/** Returns the status that an address names. */
export function statusOf(text: string | null): JobStatus | undefined {
  return STATUSES.find((status) => status === text);
}

export const isOpen = ({ status }: { status: JobStatus }): boolean =>
  status === "pending" || status === "running" || status === "failed";
export const mayRetry = ({ status }: { status: JobStatus }): boolean => status === "dead" || status === "cancelled";

const WEBHOOK = "webhook:";

export const isDelivery = ({ caller }: Pick<Job, "caller">): boolean => caller.startsWith(WEBHOOK);

/** Returns the provider that has sent a delivery; of another job, an empty text. */
export const providerOf = ({ caller }: Pick<Job, "caller">): string =>
  isDelivery({ caller }) ? caller.slice(WEBHOOK.length) : "";

/** Returns a delivery as the job that it is. */
export function jobOf(circle: string, { provider, received_at, ...rest }: Delivery): Job {
  return { ...rest, circle, caller: WEBHOOK + provider, submitted_at: received_at };
}

/** Returns what a job is called. */
export function titleOf(job: Job): string {
  if (!isDelivery(job)) return job.name ?? "Unnamed script";
  return job.event_type ?? "delivery";
}

const TONES = {
  dead: "danger",
  failed: "danger",
  running: "info",
  pending: "info",
  finished: "ok",
  cancelled: "muted",
} as const satisfies Record<JobStatus, string>;

/** The status of a job, in its colour. */
export function JobBadge({ status }: { status: JobStatus }) {
  return <Status value={status} tone={TONES[status]} />;
}
