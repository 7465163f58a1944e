import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import { type CircleEvent, ClosedError, connect, EndedError, ForbiddenError, type Gap } from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { failure, newCircle, reach, serve } from "./harness/circle.js";
import { FakeServer } from "./harness/fake.js";
import { Network } from "./harness/network.js";
import { eventually } from "./harness/server.js";

/** Emits the numbers from 1 to ARGS. */
const EMIT = 'for n in 1..=ARGS { emit("n." + n, n) }';

/** Takes so many events, and returns their data, or `gap` and after which. */
async function take(events: AsyncIterable<CircleEvent | Gap>, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  for await (const event of events) {
    taken.push("gap" in event ? `gap ${event.since}` : event.data);
    if (taken.length === count) break;
  }
  return taken;
}

const upTo = (count: number, from = 1) => Array.from({ length: count - from + 1 }, (_, n) => n + from);

test("events come in order, those of the topic alone, from when the subscription has begun", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  await circle.play('emit("chat.a", 0)');
  const events = circle.events<string>("chat.");
  assert.equal(await events.started, 1);
  await circle.play('emit("chat.b", "one"); emit("other", 1); emit("chat.c", 9007199254740993)');
  const { value } = await events.next();
  assert.ok(value && !("gap" in value));
  assert.deepEqual([value.id, value.topic, value.data], [2, "chat.b", "one"]);
  assert.ok(Math.abs(Date.parse(value.at) - Date.now()) < 60_000);
  assert.deepEqual(await take(events, 1), [9007199254740993n]);
  assert.deepEqual(await take(circle.events("chat.", { since: 0 }), 3), [0, "one", 9007199254740993n]);
  assert.deepEqual(await take(circle.events("", { since: 2 }), 2), [1, 9007199254740993n]);
});

test("leaving a loop unsubscribes, and so does a signal", async (t) => {
  const server = await serve(t, { rest: "[session]\nmax_subscriptions = 1" });
  const circle = await newCircle(t, server).connect(server.port);
  await circle.play(EMIT, 3);
  for (let n = 0; n < 3; n++) assert.deepEqual(await take(circle.events("", { since: 0 }), 2), [1, 2]);
  const abort = new AbortController();
  const events = circle.events("", { since: 3, signal: abort.signal });
  const waiting = events.next();
  await events.started;
  // One more than the session may have waits for a place.
  const more = circle.events();
  abort.abort();
  assert.equal(await more.started, 3);
  await more.return();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  const early = circle.events("", { signal: AbortSignal.abort() });
  assert.deepEqual(await early.next(), { done: true, value: undefined });
  const left = circle.events("", { since: 0 });
  await left.return();
  assert.deepEqual(await take(circle.events("", { since: 2 }), 1), [3]);
});

test("events go on after a kill, without a gap and without one twice", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const own = newCircle(t, server);
  const [reader, writer] = await Promise.all([own.connect(network.port), own.connect(server.port)]);
  const events = reader.events("n.");
  await events.started;
  const taking = take(events, 30);
  await writer.play(EMIT, 10);
  network.cut();
  await writer.play(EMIT, 10);
  await server.kill();
  const written = writer.play(EMIT, 10);
  await server.restart();
  await written;
  assert.deepEqual(await taking, [...upTo(10), ...upTo(10), ...upTo(10)]);
});

test("what happens before the first event is not lost either", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const own = newCircle(t, server);
  const [reader, writer] = await Promise.all([own.connect(network.port), own.connect(server.port)]);
  const events = reader.events();
  await events.started;
  const lost = reach(reader, "waiting");
  network.cut();
  await lost;
  await writer.play(EMIT, 1);
  assert.deepEqual(await take(events, 1), [1]);
});

test("events that the server has no longer are a gap", async (t) => {
  const server = await serve(t, { rest: "[store]\nevent_log = 10" });
  const circle = await newCircle(t, server).connect(server.port);
  await circle.play(EMIT, 100);
  const [gap, ...rest] = await take(circle.events("", { since: 5 }), 6);
  const since = Number(String(gap).split(" ")[1]);
  assert.ok(since >= 80 && since <= 95, String(gap));
  assert.deepEqual(rest, upTo(since + 5, since + 1));
});

test("a loop that is slow gets all, though not all is kept for it", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  const circle = await own.connect(server.port);
  const events = circle.events("n.");
  await events.started;
  const fast = take(circle.events("n.", { since: 0 }), 3000);
  for (let n = 0; n < 30; n++) await circle.play('for n in 1..=100 { emit("n.", n + ARGS) }', n * 100);
  // By now, the slow one is unsubscribed.
  assert.deepEqual(await fast, upTo(3000));
  assert.deepEqual(await take(events, 3000), upTo(3000));
});

test("what is kept is bounded in its size, too", async (t) => {
  const methods: string[] = [];
  const server = await FakeServer.start(t, (method, params) => {
    methods.push(`${method} ${params.since ?? params[0]}`);
    return { result: method === "subscribe" ? { subscription: "7", since: 0 } : true };
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const events = circle.events();
  await events.started;
  const data = "x".repeat(1 << 20);
  for (let id = 1; id <= 10; id++) server.notify("event", { subscription: "7", id, topic: "t", data, at: "" });
  await circle.whoami();
  assert.deepEqual(
    await take({ [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }, 4),
    Array(4).fill(data),
  );
  const waiting = events.next();
  await circle.whoami();
  server.notify("event", { subscription: "7", id: 4, topic: "t", data: "again", at: "" });
  server.notify("event", { subscription: "7", id: 5, topic: "t", data: "next", at: "" });
  assert.equal(((await waiting).value as CircleEvent).data, "next");
  assert.deepEqual(
    methods.filter((method) => !method.startsWith("whoami")),
    ["subscribe undefined", "unsubscribe 7", "subscribe 4"],
  );
});

test("events that come before the reply are those of the subscription", async (t) => {
  const server = await FakeServer.start(t, (method) => {
    if (method === "subscribe") {
      server.notify("event", { subscription: "1", id: 1, topic: "t", data: "early", at: "" });
      server.notify("event", { subscription: "2", id: 1, topic: "t", data: "other", at: "" });
      server.notify("event", { subscription: "1", later: "things" });
    }
    return { result: { subscription: "1", since: 0 } };
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const events = circle.events();
  assert.equal(((await events.next()).value as CircleEvent).data, "early");
  server.notify("event", { subscription: "1", id: 2, topic: "t", data: "late", at: "" });
  assert.equal(((await events.next()).value as CircleEvent).data, "late");
});

test("a subscription that nobody wants by the time of its reply is ended", async (t) => {
  const server = await FakeServer.start(t, (method) => {
    if (method === "subscribe") void events.return();
    return { result: { subscription: "1", since: 0 } };
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const events = circle.events();
  await eventually("the end", () => server.methods.includes("unsubscribe"));
  assert.deepEqual(await events.next(), { done: true, value: undefined });
});

test("calls that take long keep no subscription waiting", async (t) => {
  const server = await serve(t, { rest: "[script]\nmax_operations = 1_000_000_000" });
  const circle = await newCircle(t, server).connect(server.port);
  const long = Array.from({ length: 60 }, () => failure(circle.play("loop {}", null, { timeout: 3000 })));
  const first = Promise.race(long).then(() => "a call");
  assert.equal(await Promise.race([circle.events().started, first]), 0);
  circle.close();
  await Promise.all(long);
});

test("what comes for a name that nobody knows is bounded", async (t) => {
  const server = await FakeServer.start(t, (method) => {
    if (method !== "subscribe" || server.connections > 1) return { result: { subscription: "1", since: 7 } };
    for (let id = 0; id <= 1024; id++) server.notify("event", { subscription: "x", id, topic: "t", data: 0, at: "" });
    return undefined;
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  assert.equal(await circle.events().started, 7);
  assert.equal(server.connections, 2);
});

test("what still comes for a subscription that is being ended is for nobody", async (t) => {
  let reply = () => {};
  const server = await FakeServer.start(t, (method, params, socket, id) => {
    // It does not say that the first one has ended.
    if (method === "unsubscribe" && params[0] !== "") return undefined;
    if (method !== "subscribe") return { result: true };
    if (params.topic === "first") return { result: { subscription: "1", since: 0 } };
    reply = () => socket.send(JSON.stringify({ jsonrpc: "2.0", id, result: { subscription: "2", since: 0 } }));
    return undefined;
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  const first = circle.events("first");
  await first.started;
  await first.return();
  const second = circle.events("second");
  await eventually("both requests", () => server.methods.length === 3);
  for (let id = 1; id <= 2000; id++) server.notify("event", { subscription: "1", id, topic: "t", data: 0, at: "" });
  reply();
  assert.equal(await second.started, 0);
  assert.equal(server.connections, 1);
});

test("who may not subscribe any more gets an error, after what there was", async (t) => {
  const server = await serve(t, { rest: '[circles]\nsubscribe = "member"' });
  const own = newCircle(t, server);
  const member = SecretKey.generate();
  const owner = await own.connect(server.port);
  const circle = await own.connect(server.port, { signer: keySigner(member) });
  assert.ok((await failure(circle.events().next())) instanceof ForbiddenError);
  assert.equal((await owner.addMember({ pubkey: member.pubkey })).added, true);
  const events = circle.events("n.");
  await events.started;
  await owner.play(EMIT, 2);
  await owner.removeMember({ pubkey: member.pubkey });
  const all: unknown[] = [];
  const error = await failure(
    (async () => {
      for await (const event of events) all.push((event as CircleEvent).data);
    })(),
  );
  assert.ok(error instanceof EndedError && error.needs === "member", String(error));
  assert.deepEqual(all, [1, 2]);
  assert.deepEqual(await events.next(), { done: true, value: undefined });
});

test("a subscription that the server can't take now is tried again", async (t: TestContext) => {
  let left = 2;
  const server = await FakeServer.start(t, (method) => {
    if (method === "subscribe" && left-- > 0) return { error: { code: -32007, message: "Unavailable" } };
    return { result: { subscription: "1", since: 3 } };
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  assert.equal(await circle.events().started, 3);
  assert.equal(left, -1);
});

test("closing ends loops quietly; a refused login ends them with its error", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  const [closed, refused] = [await own.connect(server.port), await own.connect(server.port, { signer: once(own.key) })];
  const ends = [take(closed.events(), 1), failure(take(refused.events(), 1))] as const;
  closed.close();
  assert.deepEqual(await ends[0], []);
  await server.kill();
  await server.restart();
  assert.equal((await ends[1]).message, "once");
  assert.ok(!((await ends[1]) instanceof ClosedError));
});

/** A signer that logs in once. */
function once(key: SecretKey) {
  let isDone = false;
  return {
    async login(exchange: Parameters<ReturnType<typeof keySigner>["login"]>[0]) {
      if (isDone) throw new Error("once");
      isDone = true;
      await keySigner(key).login(exchange);
    },
  };
}
