/**
 * The durable jobs of a circle, the newest first: loaded by pages, and kept as the `job.` events tell.
 *
 * Jobs come from one source or two (submitted jobs, deliveries), because the server lists them apart. Their ids are in the
 * order of their submission. Each source is known down to its `edge`; the list shows what no source can add to.
 */

import type { Circle, Job } from "@circled/client";
import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { isDelivery } from "./job.js";

/** A page of jobs. */
export interface JobPage {
  readonly jobs: readonly Job[];
  readonly cursor?: string | null | undefined;
}

/** What a list shows. */
export interface Wanted {
  /** Returns a page of the submitted jobs, and of the deliveries; without one, it shows none of these. */
  readonly submitted?: (cursor: string | undefined, signal: AbortSignal) => Promise<JobPage>;
  readonly deliveries?: (cursor: string | undefined, signal: AbortSignal) => Promise<JobPage>;
  /** Returns true for the jobs that are shown. */
  wants(job: Job): boolean;
  /** Follows the events. */
  readonly isLive: boolean;
}

/** Where a list is. */
export interface ListState {
  readonly isLoading: boolean;
  readonly isDone: boolean;
  readonly error?: Error;
}

interface Source {
  readonly load: (cursor: string | undefined, signal: AbortSignal) => Promise<JobPage>;
  readonly ofDeliveries: boolean;
  cursor?: string | undefined;
  /** All jobs with this id and later ones are known. */
  edge: string;
}

/** Later than all ids; all known. */
const NOTHING_YET = "~";
const ALL = "";

/** The least time between two changes of what is shown, in milliseconds. */
const PAUSE = 50;

export class JobList {
  readonly rows = signal<readonly Job[]>([]);
  readonly state = signal<ListState>({ isLoading: true, isDone: false });
  readonly #circle: Circle;
  readonly #wanted: Wanted;
  #sources: Source[] = [];
  #hasBegun = false;
  #jobs = new Map<string, Job>();
  /** What events have told while a page was on its way, which may be older. */
  readonly #told = new Map<string, Job>();
  /** Aborted when the list is left, or begins anew. */
  #loading = new AbortController();
  readonly #life = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #cost = 0;

  constructor(circle: Circle, wanted: Wanted) {
    this.#circle = circle;
    this.#wanted = wanted;
  }

  start(): void {
    this.state.value = { isLoading: true, isDone: false };
    if (this.#wanted.isLive) void this.#follow();
    else void this.#begin();
  }

  stop(): void {
    this.#life.abort();
    this.#loading.abort();
    clearTimeout(this.#timer);
  }

  /** Loads the next page, until one has something to show. */
  async more(): Promise<void> {
    const { isLoading, isDone, error } = this.state.peek();
    if (isLoading || isDone) return;
    if (error && !this.#hasBegun) this.start();
    else await this.#load();
  }

  /** Begins anew with the newest. What is shown stays until they are there. */
  async reload(): Promise<void> {
    await this.#begin();
  }

  /** Takes in how jobs are now. */
  put(jobs: Iterable<Job>): void {
    for (const job of jobs) {
      this.#told.set(job.job_id, job);
      this.#take(job);
    }
    this.#timer ??= setTimeout(() => this.#show(), Math.max(PAUSE, 5 * this.#cost));
  }

  /** Shows a job as it is now, if it is wanted, and no page that is still to come will have it. */
  #take(job: Job): void {
    const edge = this.#sources.find(({ ofDeliveries }) => ofDeliveries === isDelivery(job))?.edge;
    if (!this.#wanted.wants(job)) this.#jobs.delete(job.job_id);
    else if (this.#jobs.has(job.job_id) || (edge !== undefined && job.job_id > edge)) this.#jobs.set(job.job_id, job);
  }

  async #follow(): Promise<void> {
    const events = this.#circle.events<Job>("job.", { signal: this.#life.signal });
    try {
      await events.started;
      await this.#begin();
      for await (const event of events) {
        if ("gap" in event) void this.#begin();
        else this.put([event.data]);
      }
    } catch (error) {
      if (!this.#life.signal.aborted)
        this.state.value = { ...this.state.peek(), isLoading: false, error: error as Error };
    }
  }

  async #begin(): Promise<void> {
    this.#hasBegun = true;
    this.#loading.abort();
    this.#loading = new AbortController();
    const { submitted, deliveries } = this.#wanted;
    this.#sources = [];
    if (submitted) this.#sources.push({ load: submitted, ofDeliveries: false, edge: NOTHING_YET });
    if (deliveries) this.#sources.push({ load: deliveries, ofDeliveries: true, edge: NOTHING_YET });
    this.#jobs = new Map();
    await this.#load();
  }

  async #load(): Promise<void> {
    const { signal } = this.#loading;
    this.state.value = { isLoading: true, isDone: false };
    const before = this.#shown().length;
    try {
      while (
        this.#sources.some(({ edge }) => edge === NOTHING_YET) ||
        (!this.#isDone() && this.#shown().length === before)
      ) {
        const source = this.#sources.reduce((first, other) => (other.edge > first.edge ? other : first));
        this.#told.clear();
        const page = await source.load(source.cursor, signal);
        if (signal.aborted) return;
        source.cursor = page.cursor ?? undefined;
        source.edge = page.cursor ?? ALL;
        for (const job of page.jobs) if (this.#wanted.wants(job)) this.#jobs.set(job.job_id, job);
        // It may have come after the page was read.
        for (const job of this.#told.values()) this.#take(job);
        this.#show();
      }
      this.state.value = { isLoading: false, isDone: this.#isDone() };
    } catch (error) {
      if (!signal.aborted) this.state.value = { isLoading: false, isDone: false, error: error as Error };
    }
  }

  #isDone(): boolean {
    return this.#sources.every(({ edge }) => edge === ALL);
  }

  /** Returns the jobs that no source can add to; but while one has said nothing yet, it isn't waited for. */
  #shown(): Job[] {
    const edges = this.#sources.map(({ edge }) => edge).filter((edge) => edge !== NOTHING_YET);
    const edge = edges.sort().at(-1) ?? ALL;
    return [...this.#jobs.values()].filter(({ job_id }) => job_id >= edge);
  }

  #show(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // When it begins anew, what was shown stays until there is something else.
    if (this.#sources.every(({ edge }) => edge === NOTHING_YET)) return;
    const start = performance.now();
    this.rows.value = this.#shown().sort((a, b) => (a.job_id < b.job_id ? 1 : -1));
    this.#cost = performance.now() - start;
  }
}

/** Uses a list, which is another one if the key is. */
export function useJobList(circle: Circle, key: string, wanted: () => Wanted): JobList {
  // The key stands for what is wanted
  const list = useMemo(() => new JobList(circle, wanted()), [circle, key]);
  useEffect(() => {
    list.start();
    return () => list.stop();
  }, [list]);
  return list;
}
