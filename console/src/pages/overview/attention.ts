/** What needs attention: dead jobs and deliveries, scripts that fail, events that were lost. */

import type { Job } from "@circled/client";
import { keep, kept } from "../../local.js";
import type { Session } from "../../session.js";
import { providerOf } from "../jobs/job.js";

/** How many dead and failed jobs are looked at. */
const LOOKED_AT = 50;

/** A script that fails, or whatever else has no name. */
export interface Failing {
  readonly name: string | undefined;
  /** The provider, if the jobs are deliveries. */
  readonly provider: string | undefined;
  readonly dead: number;
  readonly retrying: number;
  /** The newest of them. */
  readonly job: Job;
}

/** Groups jobs that failed by their script; those with the most dead ones first. */
export function group(jobs: readonly Job[]): Failing[] {
  const groups = new Map<string, Failing>();
  for (const job of jobs) {
    const provider = providerOf(job) || undefined;
    const name = job.name ?? undefined;
    const key = JSON.stringify([provider, name]);
    const { dead = 0, retrying = 0, job: newest = job } = groups.get(key) ?? {};
    const isDead = job.status === "dead";
    const last = newest.job_id > job.job_id ? newest : job;
    groups.set(key, { name, provider, dead: dead + Number(isDead), retrying: retrying + Number(!isDead), job: last });
  }
  return [...groups.values()].sort((one, other) => other.dead - one.dead || other.retrying - one.retrying);
}

/** Returns what fails, of what the caller may see; and whether there is more than was looked at. */
export async function findFailing({ circle, me }: Session): Promise<{ failing: Failing[]; isMore: boolean }> {
  const kinds = me.role === "owner" && !me.device ? (["submitted", "delivery"] as const) : ([undefined] as const);
  const lists = kinds.flatMap((kind) =>
    (["dead", "failed"] as const).map((status) =>
      circle.listJobs({ status, limit: LOOKED_AT, ...(kind === "delivery" ? { kind } : {}) }),
    ),
  );
  const pages = await Promise.all(lists);
  return { failing: group(pages.flatMap(({ jobs }) => jobs)), isMore: pages.some(({ cursor }) => Boolean(cursor)) };
}

/**
 * Returns how many of the events that came since this browser has last looked the log can no longer have, at most. From now on,
 * the last event counts as seen.
 */
export function lostEvents(pk: string, usage: { readonly events: number; readonly last_event: number }): number {
  const name = `last-event:${pk}`;
  const seen = Number(kept(name) ?? usage.last_event);
  keep(name, String(usage.last_event));
  return Math.max(0, usage.last_event - usage.events - seen);
}
