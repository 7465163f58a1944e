import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { WebSocket } from "ws";
import {
  ClosedError,
  connect,
  EndedError,
  ExecutionError,
  ForbiddenError,
  InvalidParamsError,
  NotFoundError,
  ReplyDroppedError,
  TimeoutError,
  UnansweredError,
} from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { failure, newCircle, reach, serve } from "./harness/circle.js";
import { FakeServer } from "./harness/fake.js";
import { Network } from "./harness/network.js";
import { eventually } from "./harness/server.js";

/** A script that ends only at a limit of time, on servers with `SLOW`. */
const LONG = "loop {}";
const SLOW = "[script]\nmax_operations = 1_000_000_000";

test("scripts are run as the caller, with arguments and a result", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  const circle = await own.connect(server.port);
  assert.deepEqual(await circle.whoami().then(({ authenticated, pubkey, role }) => ({ authenticated, pubkey, role })), {
    authenticated: true,
    pubkey: own.key.pubkey,
    role: "owner",
  });
  const played = await circle.play<number>("print(CALLER_ID); ARGS.a + 2", { a: 40 });
  assert.deepEqual([played.value, played.output, played.logs], [42, "42", [own.key.pubkey]]);
  const { version } = await circle.putScript({ name: "greet", source: '"Hello " + ARGS' });
  const called = await circle.call<string>("greet", "Ada", { version });
  assert.deepEqual([called.value, called.version], ["Hello Ada", version]);
  assert.equal((await circle.play("ARGS", undefined)).value, null);
});

test("a run tells its effects if it is asked to", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const { effects } = await circle.play('store.set("a", 1); emit("b", 1)', null, { effects: true });
  assert.deepEqual(effects, { reads: [], writes: [{ op: "set", key: "a" }], events: ["b"], jobs: 0 });
  assert.equal((await circle.play("1")).effects, undefined);
});

test("integers of 64 bits come and go as they are", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  const circle = await own.connect(server.port);
  const numbers = [1, 9007199254740993n, -9223372036854775808n, 9223372036854775807n, 0.5];
  assert.deepEqual((await circle.play('store.set("n", ARGS); ARGS', numbers)).value, numbers);
  assert.equal((await circle.play<bigint>("ARGS + 1", 9223372036854775806n)).value, 9223372036854775807n);
  assert.deepEqual((await circle.storeGet({ key: "n" })).value, numbers);
  const rounded = await own.connect(server.port, { integers: "number" });
  assert.equal((await rounded.play("9223372036854775807")).value, 2 ** 63);
});

test("names with a special meaning are data, both ways", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const args = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1}');
  const { value } = await circle.play<Record<string, unknown>>("ARGS", args);
  assert.deepEqual(Object.keys(value), ["__proto__", "constructor"]);
  assert.equal(value.admin, undefined);
});

test("each error of the server is of its class", async (t) => {
  const server = await serve(t, { rest: SLOW });
  const own = newCircle(t, server);
  const circle = await own.connect(server.port);
  const thrown = await failure(circle.play("throw #{a: 9007199254740993}"));
  assert.ok(thrown instanceof ExecutionError);
  assert.deepEqual(
    [thrown.name, thrown.code, thrown.data.kind, thrown.data.thrown],
    ["ExecutionError", -32000, "runtime", { a: 9007199254740993n }],
  );
  assert.ok((await failure(circle.play("("))) instanceof ExecutionError);
  const missing = await failure(circle.call("missing"));
  assert.ok(missing instanceof NotFoundError && missing.data.what === "script");
  const late = await failure(circle.play(LONG, null, { timeout: 50 }));
  assert.ok(late instanceof TimeoutError && late.data.timeout_ms <= 50, String(late));
  assert.ok((await failure(circle.getJob({ job_id: "?" }))) instanceof InvalidParamsError);
  const guest = await own.connect(server.port, { signer: keySigner(SecretKey.generate()) });
  const forbidden = await failure(guest.putScript({ name: "a", source: "1" }));
  assert.ok(forbidden instanceof ForbiddenError && forbidden.data.needs === "owner");
});

test("a time limit that is longer than the server's is that of the server", async (t) => {
  const server = await serve(t, { rest: `${SLOW}\n[dispatch]\njob_timeout = "100ms"` });
  const circle = await newCircle(t, server).connect(server.port);
  for (const timeout of [3_600_000, 2 ** 40]) assert.equal((await circle.play("1", null, { timeout })).value, 1);
  const late = await failure(circle.play(LONG, null, { timeout: 3_600_000 }));
  assert.ok(late instanceof TimeoutError && late.data.timeout_ms === 100, String(late));
});

test("a play whose reply is lost is asked again, and has happened once", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const circle = await newCircle(t, server).connect(network.port);
  let lost = 0;
  network.losesReply = (reply) => reply.includes("job_id") && lost++ < 3;
  const { value, replayed } = await circle.play('store.incr("n", 1)');
  assert.deepEqual([value, replayed, lost, network.connections], [1, true, 4, 4]);
  assert.equal((await circle.storeGet({ key: "n" })).value, 1);
});

test("calls that wait while there is no connection are made once there is one, in order", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port, { maxInFlight: 1 });
  await server.kill();
  await reach(circle, "waiting");
  const plays = Array.from({ length: 20 }, (_, n) =>
    circle.play('let all = store.get("all", []); all.push(ARGS); store.set("all", all)', n),
  );
  await server.restart();
  await Promise.all(plays);
  assert.deepEqual(
    (await circle.storeGet({ key: "all" })).value,
    Array.from({ length: 20 }, (_, n) => n),
  );
});

test("a call whose reply is lost can be given up with one's own reason", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const circle = await newCircle(t, server).connect(network.port);
  network.losesReply = (reply) => reply.includes("job_id");
  const abort = new AbortController();
  const played = failure(circle.play("1", null, { signal: abort.signal }));
  await reach(circle, "waiting");
  abort.abort(new Error("enough"));
  assert.equal((await played).message, "enough");
});

test("a call whose time is over after its reply was lost may have happened", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const circle = await newCircle(t, server).connect(network.port);
  network.losesReply = (reply) => reply.includes("job_id");
  const options = { timeout: 700, requestId: "mine" };
  const error = await failure(circle.play('store.incr("n", 1)', null, options));
  assert.ok(error instanceof UnansweredError && error.requestId === "mine", String(error));
  network.losesReply = undefined;
  const { value, replayed } = await circle.play('store.incr("n", 1)', null, { requestId: "mine" });
  assert.deepEqual([value, replayed], [1, true]);
});

test("a call that has happened, but whose reply is not kept, says so", async (t) => {
  const server = await serve(t, { rest: '[dispatch]\nmax_requests = "4KiB"' });
  const circle = await newCircle(t, server).connect(server.port);
  const long = 'store.incr("n", 1); let s = ""; s.pad(1000, \'x\'); s';
  const play = (n: number) => circle.play(long, null, { requestId: `r${n}` });
  for (let n = 0; n < 10; n++) await play(n);
  assert.ok((await play(9)).replayed);
  const error = await failure(play(0));
  assert.ok(error instanceof ReplyDroppedError && error instanceof InvalidParamsError, String(error));
  assert.match(error.message, /has happened/);
  assert.equal((await circle.storeGet({ key: "n" })).value, 10);
});

test("a job is submitted once, and waited for", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const circle = await newCircle(t, server).connect(network.port);
  let lost = 0;
  network.losesReply = (reply) => reply.includes("job_id") && lost++ < 1;
  const { job_id, duplicate } = await circle.submitJob({ script: "ARGS * 2", args: 21 });
  network.losesReply = undefined;
  const job = await circle.getJob({ job_id, wait: 10_000 });
  assert.deepEqual([duplicate, job.status, job.value], [false, "finished", 42]);
  assert.equal((await circle.listJobs()).jobs.length, 1);
});

test("what can't be repeated says that it may have happened", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const circle = await newCircle(t, server).connect(network.port);
  network.losesReply = (reply) => reply.includes('"added"');
  const { pubkey } = SecretKey.generate();
  const error = await failure(circle.addMember({ pubkey }));
  assert.ok(error instanceof UnansweredError && error.cause instanceof ClosedError, String(error));
  // What only reads is asked again, and hasn't happened.
  network.losesReply = (reply) => reply.includes('"members"');
  const unread = await failure(circle.listMembers({}, { timeout: 700 }));
  assert.ok(unread instanceof ClosedError, String(unread));
  network.losesReply = undefined;
  assert.deepEqual(
    (await circle.listMembers()).members.map((member) => member.pubkey),
    [pubkey],
  );
});

test("a reply that is no JSON is asked for again, on another connection", async (t) => {
  let left = 1;
  const server = await FakeServer.start(t, (_, __, socket) => {
    if (left-- > 0) return void socket.send('{"jsonrpc":"2.0","id":1,"result":');
    return { result: { authenticated: false } };
  });
  const circle = await connect({ url: server.url, WebSocket });
  t.after(() => circle.close());
  assert.equal((await circle.whoami()).authenticated, false);
  assert.equal(server.connections, 2);
});

test("no more requests are under way than the session may have, and the others wait in order", async (t) => {
  const waiting: (() => void)[] = [];
  const seen: unknown[] = [];
  let most = 0;
  const server = await FakeServer.start(t, (_, params, socket, id) => {
    seen.push(params.args);
    waiting.push(() => socket.send(JSON.stringify({ jsonrpc: "2.0", id, result: { value: params.args } })));
    most = Math.max(most, waiting.length);
    return undefined;
  });
  const circle = await connect({ url: server.url, WebSocket, maxInFlight: 8 });
  t.after(() => circle.close());
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  const plays = numbers.map((n) => circle.play("ARGS", n));
  for (const n of numbers) {
    await eventually(`request ${n}`, () => seen.length === Math.min(n + 8, 50));
    waiting.shift()?.();
  }
  assert.deepEqual(
    (await Promise.all(plays)).map(({ value }) => value),
    numbers,
  );
  assert.deepEqual([most, seen], [8, numbers]);
});

test("a limit that passes is waited for", async (t) => {
  const server = await serve(t, { rest: "[limits]\ncaller_rate = 20" });
  const circle = await newCircle(t, server).connect(server.port);
  const values = await Promise.all(Array.from({ length: 40 }, (_, n) => circle.play("ARGS", n)));
  assert.equal(values.length, 40);
});

test("a call can be given up, and takes no place then", async (t) => {
  const server = await serve(t, { rest: SLOW });
  const circle = await newCircle(t, server).connect(server.port, { maxInFlight: 1 });
  const [first, second] = [new AbortController(), new AbortController()];
  const long = failure(circle.play(LONG, null, { signal: first.signal, timeout: 500 }));
  const waiting = failure(circle.play("1", null, { signal: second.signal }));
  second.abort(new Error("second"));
  assert.equal((await waiting).message, "second");
  first.abort(new Error("first"));
  assert.equal((await long).message, "first");
  assert.equal((await circle.play("1")).value, 1);
  assert.equal(
    (await failure(circle.play("1", null, { signal: AbortSignal.abort(new Error("before")) }))).message,
    "before",
  );
});

test("calls without a connection end when their time is over, or when it is closed", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  await server.kill();
  await reach(circle, "waiting");
  const late = await failure(circle.play("1", null, { timeout: 100 }));
  assert.ok(late instanceof ClosedError, String(late));
  const open = failure(circle.play("1"));
  const events = circle.events();
  circle.close();
  assert.ok((await open) instanceof ClosedError);
  assert.ok((await failure(circle.play("1"))) instanceof ClosedError);
  assert.deepEqual(await events.next(), { done: true, value: undefined });
  assert.ok((await failure(events.started)) instanceof EndedError);
  assert.ok((await circle.closed) instanceof ClosedError);
});

test("very many calls that wait are too many, and leave nothing behind", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  await server.kill();
  await reach(circle, "waiting");
  const calls = Array.from({ length: 10_050 }, () => failure(circle.play("1")));
  assert.match((await (calls.at(-1) as Promise<Error>)).message, /too many/);
  circle.close();
  const errors = await Promise.all(calls);
  assert.equal(errors.filter((error) => error instanceof ClosedError).length, 10_048);
});

test("a program ends by itself once it has closed what it opened", async (t) => {
  const server = await serve(t);
  const program = `
    import { connect } from "@circled/client";
    import { keySigner, SecretKey } from "@circled/client/keys";
    import { WebSocket } from "ws";
    const circle = await connect({ url: process.argv[1], signer: keySigner(SecretKey.generate()), WebSocket });
    const events = circle.events();
    const watch = circle.watch({ script: "1" })[Symbol.asyncIterator]();
    console.log((await watch.next()).value);
    circle.play("loop {}").catch(() => {});
    circle.close();`;
  const args = ["--input-type=module", "--eval", program, newCircle(t, server).url(server.port)];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { timeout: 20_000 });
  assert.deepEqual([stdout, stderr], ["1\n", ""]);
});

test("a message that is too large fails by itself, and others go on", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const [large, small] = await Promise.all([
    failure(circle.play("ARGS", "x".repeat(300 << 10))),
    circle.play("let x = 0; while x < 20000 { x += 1 } x"),
  ]);
  assert.ok(large instanceof ClosedError && large.code === 1009, String(large));
  assert.equal(small.value, 20000);
});
