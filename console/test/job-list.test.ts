/** The list of jobs, without a page: what it shows while pages and events come in any order. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Circle, CircleEvent, Gap, Job, JobStatus } from "@circled/client";
import { JobList, type JobPage } from "../src/pages/jobs/list.js";

const id = (n: number): string => n.toString().padStart(8, "0");
const job = (n: number, status: JobStatus = "finished", caller = "02"): Job => ({
  job_id: id(n),
  circle: "03",
  caller,
  status,
  submitted_at: "2026-11-30T00:00:00Z",
  tries: 1,
});

type Item = CircleEvent<Job> | Gap;

/** A circle of whose jobs a test tells. */
class FakeCircle {
  readonly #items: Item[] = [];
  #wake = () => {};
  readonly started = Promise.resolve(0);

  tell(...jobs: Job[]): void {
    for (const data of jobs) this.#push({ id: 1, topic: `job.${data.job_id}`, data, at: "" });
  }

  gap(): void {
    this.#push({ gap: true, since: 0 });
  }

  #push(item: Item): void {
    this.#items.push(item);
    this.#wake();
  }

  events() {
    const next = async (): Promise<Item> => {
      while (this.#items.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      return this.#items.shift() as Item;
    };
    const items = (async function* () {
      for (;;) yield await next();
    })();
    return Object.assign(items, { started: this.started });
  }
}

/** A page that comes when the test says so. */
class Pages {
  readonly asked: { cursor: string | undefined; answer(page: JobPage): void }[] = [];
  readonly load = (cursor: string | undefined) =>
    new Promise<JobPage>((answer) => {
      this.asked.push({ cursor, answer });
    });

  async next(): Promise<Pages["asked"][number]> {
    while (this.asked.length === 0) await turn();
    return this.asked.shift() as Pages["asked"][number];
  }
}

/** Lets all that is due happen, timers of a list included. */
const turn = (pause = 0) => new Promise((resolve) => setTimeout(resolve, pause));

function start(t: { after(end: () => void): void }, wants: (job: Job) => boolean = () => true) {
  const circle = new FakeCircle();
  const pages = new Pages();
  const list = new JobList(circle as unknown as Circle, { submitted: pages.load, wants, isLive: true });
  list.start();
  t.after(() => list.stop());
  return { circle, pages, list, shown: () => list.rows.value.map(({ job_id, status }) => `${+job_id} ${status}`) };
}

test("a job that comes while the first page is on its way is shown", async (t) => {
  const { circle, pages, shown } = start(t);
  const page = await pages.next();
  circle.tell(job(3, "pending"));
  await turn(80);
  page.answer({ jobs: [job(2), job(1)], cursor: null });
  for (let pause = 0; pause < 100 && shown().length < 3; pause++) await turn(50);
  assert.deepEqual(shown(), ["3 pending", "2 finished", "1 finished"]);
});

test("what an event has told counts more than a page that was read before", async (t) => {
  const { circle, pages, shown } = start(t, ({ status }) => status === "dead");
  const page = await pages.next();
  circle.tell(job(2, "pending"), job(1, "dead"), job(4, "dead"));
  await turn();
  page.answer({ jobs: [job(3, "dead"), job(2, "dead")], cursor: id(2) });
  await turn(80);
  // The first is for a later page.
  assert.deepEqual(shown(), ["4 dead", "3 dead"]);
});

test("after a gap, what was shown stays until the first page is there", async (t) => {
  const { circle, pages, shown } = start(t);
  (await pages.next()).answer({ jobs: [job(2), job(1)], cursor: null });
  await turn();
  circle.gap();
  const page = await pages.next();
  circle.tell(job(4, "pending"));
  await turn(80);
  assert.deepEqual(shown(), ["2 finished", "1 finished"]);
  page.answer({ jobs: [job(3), job(1)], cursor: null });
  await turn(80);
  assert.deepEqual(shown(), ["4 pending", "3 finished", "1 finished"]);
});

test("submitted jobs and deliveries are one list, as far down as both are known", async (t) => {
  const circle = new FakeCircle();
  const [submitted, deliveries] = [new Pages(), new Pages()];
  const sources = { submitted: submitted.load, deliveries: deliveries.load };
  const list = new JobList(circle as unknown as Circle, { ...sources, wants: () => true, isLive: true });
  list.start();
  t.after(() => list.stop());
  const shown = () => list.rows.value.map(({ job_id }) => +job_id);
  (await submitted.next()).answer({ jobs: [job(9), job(5)], cursor: id(5) });
  const webhook = (n: number) => job(n, "finished", "webhook:github");
  const first = await deliveries.next();
  // The others aren't waited for.
  assert.deepEqual(shown(), [9, 5]);
  first.answer({ jobs: [webhook(8), webhook(7)], cursor: id(7) });
  await turn();
  assert.deepEqual(shown(), [9, 8, 7]);
  void list.more();
  (await deliveries.next()).answer({ jobs: [webhook(2)], cursor: null });
  await turn();
  assert.deepEqual(shown(), [9, 8, 7, 5]);
  void list.more();
  (await submitted.next()).answer({ jobs: [job(1)], cursor: null });
  await turn();
  assert.deepEqual(shown(), [9, 8, 7, 5, 2, 1]);
  assert.ok(list.state.value.isDone);
});

test("100,000 jobs are each there once, in order, while others come and change", async (t) => {
  const { circle, pages, list } = start(t);
  const [count, size] = [100_000, 500];
  for (let last = count; last > 0; last -= size) {
    const page = await pages.next();
    assert.equal(page.cursor, last === count ? undefined : id(last + 1));
    if (last % 5000 === 0) circle.tell(job(count + last), job(last + 1, "dead"), job(last - 10, "dead"));
    await turn();
    const jobs = Array.from({ length: size }, (_, n) => job(last - n));
    page.answer({ jobs, cursor: last === size ? null : id(last - size + 1) });
    while (list.state.value.isLoading) await turn();
    void list.more();
  }
  await turn(500);
  const rows = list.rows.value;
  assert.ok(list.state.value.isDone);
  assert.equal(new Set(rows.map(({ job_id }) => job_id)).size, rows.length);
  assert.ok(rows.every(({ job_id }, n) => n === 0 || job_id < (rows[n - 1]?.job_id ?? "")));
  assert.equal(rows.filter(({ job_id }) => job_id <= id(count)).length, count);
  assert.equal(rows.filter(({ job_id }) => job_id > id(count)).length, 21);
  assert.equal(rows.filter(({ status }) => status === "dead").length, 40);
});
