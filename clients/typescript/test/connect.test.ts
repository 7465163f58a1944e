import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import {
  ClosedError,
  connect,
  InvalidCredentialsError,
  LoginTextError,
  OtherCallerError,
  RefusedError,
  ServerProofError,
  type Signer,
  UnansweredError,
} from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { failure, newCircle, reach, serve } from "./harness/circle.js";
import { FakeServer } from "./harness/fake.js";
import { Network } from "./harness/network.js";
import { eventually, freePort } from "./harness/server.js";

const signer = keySigner(SecretKey.generate());
/** Settings of a server that serves other circles alone. */
const OTHERS = `[circles]\nopen = false\n[[circle]]\nkey = "${SecretKey.generate().pubkey}"`;
/** Returns the URL of a server that says nothing. */
async function muteUrl(t: TestContext): Promise<string> {
  const mute = createServer((socket) => void socket.on("error", () => {})).listen(0, "127.0.0.1");
  await once(mute, "listening");
  t.after(() => mute.close());
  return `ws://127.0.0.1:${(mute.address() as { port: number }).port}/02${"ab".repeat(32)}`;
}
/** A signer that never comes to an end. */
function hanging(asked: () => void = () => {}): Signer {
  return {
    login: async () => {
      asked();
      await new Promise(() => {});
    },
  };
}
/** Signs by each of these keys in turn. */
function turning(...keys: SecretKey[]): Signer {
  let logins = 0;
  return { login: (exchange) => keySigner(keys[logins++ % keys.length] as SecretKey).login(exchange) };
}

test("a URL that names no circle is refused at once", async () => {
  for (const url of ["", "http://127.0.0.1/02", "ws://127.0.0.1/circle"]) {
    assert.ok((await failure(connect({ url, signer, WebSocket }))) instanceof TypeError, url);
  }
  const url = `ws://127.0.0.1/02${"ab".repeat(32)}`;
  assert.ok((await failure(connect({ url, signer, WebSocket, origin: "example.org" }))) instanceof TypeError);
});

test("where there is no WebSocket, it says what to pass", async (t) => {
  const scope = globalThis as { WebSocket?: unknown };
  const before = scope.WebSocket;
  t.after(() => {
    scope.WebSocket = before;
  });
  scope.WebSocket = undefined;
  const error = await failure(connect({ url: `ws://127.0.0.1/02${"ab".repeat(32)}`, signer }));
  assert.ok(error instanceof TypeError && error.message.includes("`WebSocket`"));
});

test("a circle that the server doesn't serve ends it", async (t) => {
  const server = await serve(t, { rest: OTHERS });
  const error = await failure(newCircle(t, server).connect(server.port));
  assert.ok(error instanceof RefusedError && error.status === 404, String(error));
  assert.match(error.message, /circle/);
});

test("a page that may not connect ends it", async (t) => {
  const server = await serve(t, { server: 'allowed_origins = ["https://app.example.org"]' });
  class Foreign extends WebSocket {
    constructor(url: string) {
      super(url, { origin: "https://evil.example.org" });
    }
  }
  const error = await failure(newCircle(t, server).connect(server.port, { WebSocket: Foreign }));
  assert.ok(error instanceof RefusedError && error.status === 403, String(error));
});

test("where a WebSocket doesn't tell why it failed, the server is asked", async (t) => {
  const server = await serve(t, { rest: OTHERS });
  class Silent extends WebSocket {
    constructor(url: string) {
      super(url);
      const set = (handler: (event: object) => void) => this.addEventListener("error", () => handler({}));
      Object.defineProperty(this, "onerror", { set });
    }
  }
  const error = await failure(newCircle(t, server).connect(server.port, { WebSocket: Silent }));
  assert.ok(error instanceof RefusedError && error.status === 404, String(error));
});

test("a 403 or 404 of a proxy before the server is not final", async (t) => {
  for (const [status, body] of [
    [404, "default backend - 404"],
    [404, '{"error": {"code": 404, "message": "no route"}}'],
    [403, '{"message": "Forbidden"}'],
  ] as const) {
    let asked = 0;
    const proxy = createHttpServer((_, response) => response.writeHead(status).end(body));
    proxy.on("upgrade", (_, socket) => {
      asked++;
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    t.after(() => proxy.close());
    const url = `ws://127.0.0.1:${(proxy.address() as { port: number }).port}/02${"ab".repeat(32)}`;
    const error = await failure(connect({ url, signer, WebSocket, timeout: 2000 }));
    assert.ok(error instanceof ClosedError && error.message.includes(`${status}`), String(error));
    assert.ok(asked > 1, `it was asked ${asked} times`);
  }
});

test("where nothing answers, it ends when the time is over", async (t) => {
  const nobody = `ws://127.0.0.1:${await freePort()}/02${"ab".repeat(32)}`;
  assert.ok((await failure(connect({ url: nobody, signer, WebSocket, timeout: 300 }))) instanceof ClosedError);
  const url = await muteUrl(t);
  assert.ok((await failure(connect({ url, signer, WebSocket, timeout: 300 }))) instanceof ClosedError);
});

test("a server that comes up in time is found", async (t) => {
  const server = await serve(t);
  await server.kill();
  const own = newCircle(t, server);
  const connecting = own.connect(server.port);
  await server.restart();
  assert.equal((await (await connecting).play("1")).value, 1);
});

test("a login that the server refuses ends it", async (t) => {
  const server = await serve(t);
  const { url } = newCircle(t, server);
  const key = SecretKey.generate();
  const forger: Signer = {
    async login(exchange) {
      const text = await exchange.fetchNonce({ pubkey: key.pubkey });
      const signature = await SecretKey.generate().sign(text, "eip191");
      await exchange.authenticate({ pubkey: key.pubkey, signature });
    },
  };
  const error = await failure(connect({ url: url(server.port), signer: forger, WebSocket }));
  assert.ok(error instanceof InvalidCredentialsError && error.data.reason === "bad_signature", String(error));
});

test("a server in between gets nothing signed", async (t) => {
  const server = await serve(t);
  const between = await Network.start(server.port);
  t.after(() => between.stop());
  const own = newCircle(t, server);
  const error = await failure(connect({ url: own.url(between.port), signer, WebSocket }));
  assert.ok(error instanceof LoginTextError, String(error));
});

test("a server that proves nothing is refused where a proof is required, before anything is signed", async (t) => {
  const server = await FakeServer.start(t);
  const error = await failure(connect({ url: server.url, signer, WebSocket, requireProof: true }));
  assert.ok(error instanceof ServerProofError, String(error));
  assert.deepEqual(server.methods, ["prove"]);
});

test("a signer's own error ends it, also after it was connected", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  let logins = 0;
  const fickle: Signer = {
    async login(exchange) {
      if (logins++ === 1) throw new Error("the person said no");
      await keySigner(own.key).login(exchange);
    },
  };
  const circle = await own.connect(server.port, { signer: fickle });
  await server.kill();
  await server.restart();
  assert.equal((await circle.closed).message, "the person said no");
  assert.equal(circle.getSnapshot().phase, "closed");
});

test("what a caller has asked is not asked again as another one: it is over", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const own = newCircle(t, server);
  const other = SecretKey.generate();
  const circle = await own.connect(network.port, { signer: turning(own.key, own.key, other) });
  const events = circle.events("", { since: 0 });
  await events.started;
  network.cut();
  await reach(circle, "waiting");
  await reach(circle, "ready");
  network.losesReply = (reply) => reply.includes("job_id");
  const played = failure(circle.play('store.incr("n", 1)'));
  await reach(circle, "waiting");
  network.losesReply = undefined;
  const waiting = failure(circle.play('store.incr("n", 1)'));
  const reason = await circle.closed;
  assert.ok(reason instanceof OtherCallerError && reason.message.includes(other.pubkey), String(reason));
  const lost = await played;
  assert.ok(lost instanceof UnansweredError && lost.cause === reason, String(lost));
  assert.deepEqual([await waiting, await failure(events.next())], [reason, reason]);
  const again = await own.connect(server.port);
  assert.equal((await again.storeGet({ key: "n" })).value, 1);
});

test("a signer that hangs has its time, also where anyone may connect, and also later", async (t) => {
  const server = await FakeServer.start(t);
  const times = { url: server.url, WebSocket, loginTimeout: 1500 };
  let asked = 0;
  const error = await failure(connect({ ...times, signer: hanging(() => asked++), timeout: 1000 }));
  assert.ok(error instanceof ClosedError && error.message.includes("login"), String(error));
  assert.equal(asked, 1);
  const later: Signer = { login: async (exchange) => void (asked++ > 1 && (await hanging().login(exchange))) };
  const circle = await connect({ ...times, signer: later });
  server.close(1012, "restart");
  const reason = await circle.closed;
  assert.ok(reason instanceof ClosedError && reason.message.includes("login"), String(reason));
  assert.equal(asked, 3);
});

test("a signer that hangs can be aborted", async (t) => {
  const server = await serve(t);
  const abort = new AbortController();
  const hung = hanging(() => abort.abort(new Error("enough")));
  const error = await failure(newCircle(t, server).connect(server.port, { signer: hung, signal: abort.signal }));
  assert.equal(error.message, "enough");
});

test("a signer that lets the server wait for too long is not asked again", async (t) => {
  const server = await serve(t, { rest: '[session]\nlogin_deadline = "200ms"' });
  let asked = 0;
  const error = await failure(newCircle(t, server).connect(server.port, { signer: hanging(() => asked++) }));
  assert.ok(error instanceof ClosedError && error.code === 1008, String(error));
  assert.equal(asked, 1);
});

test("a server that loses the connection in the middle of a login is dialled again", async (t) => {
  let left = 3;
  const server = await FakeServer.start(t, (method, _, socket) => {
    if (method === "whoami" && left-- > 0) return void socket.close(1013, "too many sessions");
    return { result: true };
  });
  const login: Signer = { login: (exchange) => exchange.call("whoami") };
  const circle = await connect({ url: server.url, signer: login, WebSocket });
  t.after(() => circle.close());
  assert.equal(server.connections, 4);
});

test("a signer is told when its connection is lost, and what it does then counts no more", async (t) => {
  const server = await FakeServer.start(t);
  const told: unknown[] = [];
  let finish = () => {};
  const slow: Signer = {
    async login(exchange) {
      if (told.length > 0) return exchange.call("whoami");
      exchange.signal.addEventListener("abort", () => told.push(exchange.signal.reason));
      const person = new Promise<void>((resolve) => {
        finish = resolve;
      });
      server.close(1013, "too many sessions");
      await person;
      await exchange.call("late").catch((error) => told.push(error));
    },
  };
  const circle = await connect({ url: server.url, signer: slow, WebSocket });
  t.after(() => circle.close());
  finish();
  await eventually("the end of the first login", () => told.length === 2);
  assert.ok(told[0] instanceof ClosedError && told[0].code === 1013);
  assert.equal(told[1], told[0]);
  assert.deepEqual(server.methods, ["prove", "prove", "whoami", "whoami"]);
});

test("it can be aborted in every phase", async (t) => {
  const server = await serve(t);
  const own = newCircle(t, server);
  const nobody = await freePort();
  const aborted = async (port: number, when: (abort: () => void) => Partial<Parameters<typeof own.connect>[1]>) => {
    const controller = new AbortController();
    const options = when(() => controller.abort(new Error("aborted")));
    return (await failure(own.connect(port, { ...options, signal: controller.signal }))).message;
  };
  const before = aborted(server.port, (abort) => {
    abort();
    return {};
  });
  const dialling = aborted(server.port, (abort) => {
    queueMicrotask(abort);
    return {};
  });
  const login = aborted(server.port, (abort) => ({ signer: hanging(abort) }));
  const waiting = aborted(nobody, (abort) => {
    let sockets = 0;
    class Counted extends WebSocket {
      constructor(url: string) {
        super(url);
        if (sockets++ === 1) abort();
      }
    }
    return { WebSocket: Counted };
  });
  assert.deepEqual(await Promise.all([before, dialling, login, waiting]), Array(4).fill("aborted"));
  const controller = new AbortController();
  const circle = await own.connect(server.port, { signal: controller.signal });
  controller.abort(new Error("aborted"));
  assert.equal((await failure(circle.play("1"))).message, "aborted");
});

test("a killed server is found again, with nobody asking", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const phases: string[] = [];
  circle.subscribe(({ phase }) => phases.push(phase));
  await server.kill();
  await reach(circle, "waiting");
  assert.ok(circle.getSnapshot().error instanceof ClosedError);
  await server.restart();
  await reach(circle, "ready");
  assert.equal(circle.getSnapshot().error, undefined);
  assert.equal(circle.getSnapshot(), circle.getSnapshot());
  assert.deepEqual([phases[0], phases[1], phases.at(-1)], ["ready", "waiting", "ready"]);
});

test("a connection that has gone silent is noticed within ten seconds, and what was asked is answered", async (t) => {
  const server = await serve(t);
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const circle = await newCircle(t, server).connect(network.port);
  network.silence();
  const begun = performance.now();
  const played = circle.play('store.incr("n", 1)');
  await reach(circle, "waiting");
  const noticed = performance.now() - begun;
  assert.ok(noticed < 10_000, `${noticed} ms`);
  const { value } = await played;
  assert.equal(value, 1);
});

/** Has events of a browser, which are dispatched by the test. */
function page(t: TestContext): EventTarget {
  const target = new EventTarget();
  const scope = globalThis as unknown as Record<string, unknown>;
  const parts = {
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    document: Object.assign(target, { visibilityState: "visible" }),
  };
  Object.assign(scope, parts);
  t.after(() => {
    for (const name of Object.keys(parts)) delete scope[name];
  });
  return target;
}

test("when the network or the page is back, it connects at once", async (t) => {
  const target = page(t);
  const busy = { code: -32005, message: "Limit Exceeded", data: { limit: "auth.queue", retry_after_ms: 3_600_000 } };
  const server = await FakeServer.start(t);
  const login: Signer = { login: (exchange) => exchange.call("whoami") };
  const circle = await connect({ url: server.url, signer: login, WebSocket });
  for (const event of ["online", "visibilitychange", "pageshow"]) {
    server.answer = (method) => (method === "whoami" ? { error: busy } : { result: true });
    // It comes back at once, is refused for an hour, and waits.
    const refused = new Promise<void>((resolve) => {
      const leave = circle.subscribe(({ phase, error }) => {
        if (phase !== "waiting" || (error as { code?: number })?.code !== -32005) return;
        queueMicrotask(() => leave());
        resolve();
      });
    });
    server.close(1012, "restart");
    await refused;
    server.answer = () => ({ result: true });
    target.dispatchEvent(new Event(event));
    await reach(circle, "ready");
  }
  circle.close();
  assert.equal(circle.getSnapshot().phase, "closed");
});

test("an attempt that began before the network was back is given up then, a new one isn't", async (t) => {
  const target = page(t);
  const server = await FakeServer.start(t);
  const mute = await muteUrl(t);
  let sockets = 0;
  /** The first one gets no answer, as without a network. */
  class Lost extends WebSocket {
    constructor(url: string) {
      super(sockets++ === 0 ? mute : url);
    }
  }
  const begun = performance.now();
  const connecting = connect({ url: server.url, WebSocket: Lost });
  const online = setInterval(() => target.dispatchEvent(new Event("online")), 100);
  t.after(() => clearInterval(online));
  const circle = await connecting;
  t.after(() => circle.close());
  const passed = performance.now() - begun;
  assert.ok(passed >= 2000 && passed < 8000, `${passed} ms`);
  assert.equal(sockets, 2);
});

test("without a signer, a caller may do what anyone may", async (t) => {
  const server = await serve(t, { rest: '[circles]\nopen = true\nplay = "anyone"' });
  const circle = await newCircle(t, server).connect(server.port, { signer: undefined });
  assert.deepEqual(
    [(await circle.whoami()).authenticated, (await circle.play("CALLER_ID")).value],
    [false, "anonymous"],
  );
  const many = await Promise.all(Array.from({ length: 50 }, (_, n) => circle.play("ARGS", n)));
  assert.equal(many.at(-1)?.value, 49);
});
