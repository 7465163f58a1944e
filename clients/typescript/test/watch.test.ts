import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import {
  connect,
  EndedError,
  ExecutionError,
  ForbiddenError,
  NotFoundError,
  type Snapshot,
  type Watch,
} from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { failure, newCircle, reach, serve } from "./harness/circle.js";
import { FakeServer } from "./harness/fake.js";
import { Network } from "./harness/network.js";
import { reports } from "./harness/reports.js";
import { eventually } from "./harness/server.js";

const READ = { script: 'store.get("n", 0)' };

/** Waits until a watch is as it should be. */
function until<T>(watch: Watch<T>, isSo: (snapshot: Snapshot<T>) => boolean): Promise<Snapshot<T>> {
  return new Promise((resolve) => {
    let leave = () => {};
    leave = watch.subscribe((snapshot) => {
      if (!isSo(snapshot)) return;
      resolve(snapshot);
      queueMicrotask(() => leave());
    });
  });
}

test("a loop gets the value, and each other one", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  const circle = await own.connect(server.port);
  await circle.putScript({ name: "top", source: 'store.get("n", 0) * ARGS' });
  const values: unknown[] = [];
  for await (const value of circle.watch<number>("top", 10)) {
    values.push(value);
    if (values.length === 4) break;
    await circle.play('store.set("m", 1); store.incr("n", 1)');
  }
  assert.deepEqual(values, [0, 10, 20, 30]);
});

test("a store tells at once how it is, and has the same snapshot until something changes", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const watch = circle.watch<number>(READ);
  const before = watch.getSnapshot();
  assert.deepEqual(before, { status: "loading", value: undefined, at: undefined, error: undefined });
  const seen: Snapshot<number>[] = [];
  const { subscribe, getSnapshot } = watch;
  const leave = subscribe((snapshot) => seen.push(snapshot));
  assert.deepEqual(seen, [before]);
  const live = await until(watch, ({ status }) => status === "live");
  const { at } = live;
  assert.deepEqual(live, { status: "live", value: 0, at, error: undefined });
  assert.equal(getSnapshot(), live);
  await circle.play('store.set("n", 9007199254740993)');
  const next = await until(watch, ({ value }) => value !== 0);
  assert.equal(next.value, 9007199254740993n);
  assert.equal(next.at, Number(at) + 1, "the commit that has changed it");
  leave();
  await circle.play('store.set("n", 2)');
  assert.deepEqual(seen, [before, live, next]);
  // Who comes back gets the newest.
  assert.equal((await until(watch, ({ status, value }) => status === "live" && value === 2)).value, 2);
});

test("watches of the same script with the same arguments are one for the server", async (t) => {
  const server = await FakeServer.start(t, (method) => ({
    result: method === "watch" ? { subscription: "1", value: 1, at: 1 } : true,
  }));
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const leave = Array.from({ length: 10 }, () => circle.watch("top", { a: 1 }).subscribe(() => {}));
  leave.push(circle.watch({ name: "top" }, { a: 1 }).subscribe(() => {}));
  const loop = circle.watch("top", { a: 1 })[Symbol.asyncIterator]();
  await loop.next();
  assert.deepEqual(server.methods, ["watch"]);
  await loop.return();
  for (const one of leave) one();
  // Whoever comes back in the same moment finds it running.
  const back = circle.watch("top", { a: 1 }).subscribe(() => {});
  await circle.whoami();
  back();
  await eventually("the end of the watch", () => server.methods.includes("unsubscribe"));
  assert.deepEqual(server.methods, ["watch", "whoami", "unsubscribe"]);
});

test("a listener that throws is reported, and all others are told", async (t) => {
  const server = await FakeServer.start(t, (method) => ({
    result: method === "watch" ? { subscription: "1", value: 1, at: 1 } : true,
  }));
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const reported = reports(t);
  const fault = new Error("of the page");
  const fail = () => {
    throw fault;
  };
  const [phases, seen]: [string[], unknown[]] = [[], []];
  circle.subscribe(fail);
  circle.subscribe(({ phase }) => phases.push(phase));
  const watch = circle.watch("top");
  watch.subscribe(fail);
  watch.subscribe(({ status, value }) => seen.push([status, value]));
  await eventually("the value", () => seen.length === 2);
  server.notify("value", { subscription: "1", value: 2, at: 2 });
  await eventually("the new value", () => seen.length === 3);
  circle.close();
  assert.deepEqual(seen, [
    ["loading", undefined],
    ["live", 1],
    ["live", 2],
    ["stale", 2],
    ["ended", 2],
  ]);
  assert.deepEqual(phases, ["ready", "closed"]);
  await eventually("all reports", () => reported.length === 7);
  assert.ok(reported.every((error) => error === fault));
});

test("a loop begins with the value that is, not with one that was", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const watch = circle.watch<number>(READ);
  for (const expected of [0, 1, 2]) {
    for await (const value of watch) {
      assert.equal(value, expected);
      break;
    }
    await eventually("that nobody watches", () => watch.getSnapshot().status === "stale");
    await circle.play('store.incr("n", 1)');
  }
});

test("a value that comes again is the same object", async (t) => {
  const server = await FakeServer.start(t, (method) => ({
    result: method === "watch" ? { subscription: "1", value: { a: [1] }, at: 1 } : true,
  }));
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const seen: Snapshot[] = [];
  const watch = circle.watch("top");
  watch.subscribe((snapshot) => seen.push(snapshot));
  const { value } = await until(watch, ({ status }) => status === "live");
  server.notify("value", { subscription: "1", value: { a: [1] }, at: 2 });
  server.close(1012, "restart");
  await until(watch, ({ status }) => status === "stale");
  await until(watch, ({ status }) => status === "live");
  assert.deepEqual(
    seen.map(({ status }) => status),
    ["loading", "live", "stale", "live"],
  );
  for (const snapshot of seen.slice(1)) assert.equal(snapshot.value, value);
});

test("a watch is live again after a kill, from where it was, and tells nothing that it has told", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const own = newCircle(t, server);
  const [circle, writer] = [await own.connect(network.port), await own.connect(server.port)];
  const watch = circle.watch<number>(READ);
  const seen: [string, number | undefined][] = [];
  watch.subscribe(({ status, value }) => seen.push([status, value]));
  await until(watch, ({ status }) => status === "live");
  const sent: string[] = [];
  network.onRequest = (text) => void sent.push(text);
  network.cut();
  await until(watch, ({ status }) => status === "stale");
  await until(watch, ({ status }) => status === "live");
  assert.ok(sent.some((text) => text.includes('"since":0')));
  await server.kill();
  await until(watch, ({ status }) => status === "stale");
  await server.restart();
  await writer.play('store.set("n", 5)');
  const begun = performance.now();
  await until(watch, ({ status, value }) => status === "live" && value === 5);
  assert.ok(performance.now() - begun < 2000);
  assert.deepEqual(
    seen.filter(([status], at) => status !== "live" || seen[at - 1]?.[0] !== "live"),
    [
      ["loading", undefined],
      ["live", 0],
      ["stale", 0],
      ["live", 0],
      ["stale", 0],
      seen.at(5)?.[1] === 5 ? ["live", 5] : ["live", 0],
    ],
  );
});

test("a script that fails is told, and watched on", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  await circle.play('store.set("n", 1)');
  const watch = circle.watch<number>({ script: '10 / store.get("n")' });
  await until(watch, ({ value }) => value === 10);
  const loop = watch[Symbol.asyncIterator]();
  assert.equal((await loop.next()).value, 10);
  await circle.play('store.set("n", 0)');
  const failed = await until(watch, ({ status }) => status === "failed");
  assert.ok(failed.error instanceof ExecutionError && failed.value === 10);
  assert.ok((await failure(loop.next())) instanceof ExecutionError);
  await circle.play('store.set("n", 5)');
  assert.deepEqual(await until(watch, ({ status }) => status === "live"), {
    status: "live",
    value: 2,
    at: 3,
    error: undefined,
  });
});

test("a script that isn't there yet is tried again", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const watch = circle.watch("later");
  const keep = watch.subscribe(() => {});
  const { error } = await until(watch, ({ status }) => status === "failed");
  assert.ok(error instanceof NotFoundError);
  await circle.putScript({ name: "later", source: "7" });
  assert.equal((await until(watch, ({ status }) => status === "live")).value, 7);
  keep();
});

test("who may not watch any more is told so, and may come back", async (t) => {
  const server = await serve(t, { rest: '[circles]\nplay = "member"' });
  const own = newCircle(t, server);
  const key = SecretKey.generate();
  const owner = await own.connect(server.port);
  const circle = await own.connect(server.port, { signer: keySigner(key) });
  const watch = circle.watch(READ);
  const refused = await until(watch, ({ status }) => status === "ended");
  assert.ok(refused.error instanceof ForbiddenError);
  await owner.addMember({ pubkey: key.pubkey });
  const seen: Snapshot[] = [];
  watch.subscribe((snapshot) => seen.push(snapshot));
  await eventually("a value", () => seen.at(-1)?.status === "live");
  await owner.removeMember({ pubkey: key.pubkey });
  await eventually("the end", () => seen.at(-1)?.status === "ended");
  const { error } = watch.getSnapshot();
  assert.ok(error instanceof EndedError && error.needs === "member", String(error));
});

test("closing ends a loop quietly, and a store with its reason", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const watch = circle.watch(READ);
  const loop = watch[Symbol.asyncIterator]();
  await loop.next();
  const end = loop.next();
  circle.close();
  assert.deepEqual(await end, { done: true, value: undefined });
  assert.equal(watch.getSnapshot().status, "ended");
  assert.equal((await until(circle.watch("more"), ({ status }) => status === "ended")).value, undefined);
  assert.deepEqual(await circle.watch("more")[Symbol.asyncIterator]().next(), { done: true, value: undefined });
});

test("of values that follow each other quickly, a slow loop gets the newest", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const watch = circle.watch<number>(READ);
  const loop = watch[Symbol.asyncIterator]();
  assert.equal((await loop.next()).value, 0);
  for (let n = 0; n < 20; n++) await circle.play('store.incr("n", 1)');
  await until(watch, ({ value }) => value === 20);
  assert.equal((await loop.next()).value, 20);
  await loop.return();
  await reach(circle, "ready");
});
