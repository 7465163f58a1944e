import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { test } from "node:test";
import { CircleError, ClosedError, type LoginExchange, LoginTextError, type RpcError } from "../dist/index.js";
import { createDeviceKey, signText } from "../dist/p256.js";
import {
  type DeviceKey,
  type DeviceKeyStore,
  type DeviceOptions,
  deviceSigner,
  LoginNeededError,
  memoryStore,
} from "../dist/signers.js";
import { type Answers, CIRCLE, exchange, loginText, ORIGIN, refused } from "./harness/exchange.js";

const caller = `03${"cd".repeat(32)}`;

/** Verifies by OpenSSL: it takes a compressed key as it is, behind the bytes that say so. */
function isSigned(pubkey: string, text: string, signature: string): boolean {
  const spki = Buffer.from(`3039301306072a8648ce3d020106082a8648ce3d030107032200${pubkey}`, "hex");
  const key = createPublicKey({ key: spki, format: "der", type: "spki" });
  return verify("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "hex"));
}

test("signatures have a low S, and OpenSSL takes them", async () => {
  const half = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n / 2n;
  const key = await createDeviceKey();
  assert.equal(key.privateKey.extractable, false);
  // Half of all signatures would have a high one.
  for (let at = 0; at < 40; at++) {
    const signature = await signText(key.privateKey, `text ${at}`);
    assert.ok(isSigned(key.pubkey, `text ${at}`, signature));
    assert.ok(BigInt(`0x${signature.slice(64)}`) <= half);
  }
});

interface DeviceView {
  label: string;
  scope: string[];
  expires_at: string;
}

/** A server that knows device keys, and how often the inner signer was asked. */
function server(options: Partial<DeviceOptions> = {}) {
  const known = new Map<string, DeviceView>();
  const counts = { inner: 0 };
  const answers: Answers = {
    nonce: ({ pubkey = "", scheme }) => {
      assert.equal(scheme, "es256");
      return loginText(pubkey);
    },
    authenticate: ({ pubkey = "", scheme, signature = "" }) => {
      assert.equal(scheme, "es256");
      if (!known.has(pubkey)) throw refused(-32002, "unknown_device");
      assert.ok(isSigned(pubkey, loginText(pubkey), signature));
    },
    call: (method, params) => {
      if (method === "whoami") return { pubkey: caller };
      if (method === "remove_device_key") return { removed: known.delete((params as { pubkey: string }).pubkey) };
      assert.equal(method, "add_device_key");
      const { pubkey, proof, ...key } = params as DeviceView & { pubkey: string; proof: string };
      const text = `circled device v1\ncircle: ${CIRCLE}\ncaller: ${caller}\nkey: ${pubkey}\nscope: ${key.scope.join(",")}\nexpires: ${key.expires_at}`;
      assert.ok(isSigned(pubkey, text, proof));
      known.set(pubkey, key);
      return {};
    },
  };
  const inner = {
    async login(_: LoginExchange) {
      counts.inner += 1;
    },
  };
  const signer = deviceSigner({ inner, store: memoryStore(), ...options });
  return { known, counts, answers, signer, login: () => signer.login(exchange(answers)) };
}

/** The circle's URL; its key is kept under the same name. */
const ID = `${ORIGIN}/${CIRCLE}`;

/** A login on a connection that was made again by itself. */
function later(answers: Answers, signal?: AbortSignal) {
  return exchange(answers, signal, false);
}

test("the inner signer is asked once, and the device key logs in from then on", async () => {
  const { known, counts, login } = server({ scope: ["call:chat", "subscribe"], label: "laptop", ttl: 60_000 });
  await login();
  await login();
  await login();
  assert.equal(counts.inner, 1);
  const [key] = [...known.values()];
  assert.deepEqual([key?.label, key?.scope], ["laptop", ["call:chat", "subscribe"]]);
  assert.match(key?.expires_at ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.ok(Math.abs(Date.parse(key?.expires_at ?? "") - Date.now() - 60_000) < 10_000);
});

test("the first session has the rights of the device key, too", async () => {
  const { answers, signer } = server();
  const first = exchange(answers);
  await signer.login(first);
  assert.deepEqual(
    first.asked.map(([method]) => method),
    ["whoami", "add_device_key", "fetch_nonce", "authenticate"],
  );
});

test("a key that the server doesn't know any more is forgotten, and the next login may ask", async () => {
  const { known, counts, signer, login } = server();
  await login();
  known.clear();
  await assert.rejects(login(), (error: Error) => {
    assert.ok(error instanceof LoginNeededError && error instanceof CircleError);
    assert.equal(error.mayPass, false);
    assert.deepEqual((error.cause as RpcError).data, { reason: "unknown_device" });
    return true;
  });
  assert.deepEqual([counts.inner, await signer.has(ID)], [1, false]);
  await login();
  await login();
  assert.deepEqual([counts.inner, known.size], [2, 1]);
});

test("a connection that is made again shows no prompt, whatever has become of the key", async () => {
  const gone: ((store: DeviceKeyStore, known: Map<string, DeviceView>) => unknown)[] = [
    (_, known) => known.clear(),
    (store) => store.delete(ID),
    async (store) => store.set(ID, { ...((await store.get(ID)) as DeviceKey), expires_at: "2020-01-01T00:00:00Z" }),
  ];
  for (const change of gone) {
    const store = memoryStore();
    const { known, counts, answers, signer, login } = server({ store });
    await login();
    await signer.login(later(answers));
    await change(store, known);
    await assert.rejects(signer.login(later(answers)), LoginNeededError);
    assert.deepEqual([counts.inner, await signer.has(ID)], [1, false]);
    await login();
    assert.equal(counts.inner, 2);
  }
});

test("a key that has expired is none: it isn't tried, and the login asks", async () => {
  const store = memoryStore();
  const { known, counts, answers, signer, login } = server({ store });
  await login();
  const key = (await store.get(ID)) as DeviceKey;
  assert.equal(key.expires_at, known.get(key.pubkey)?.expires_at);
  await store.set(ID, { ...key, expires_at: new Date(Date.now() - 1000).toISOString() });
  assert.equal(await signer.has(ID), false);
  const next = exchange(answers);
  await signer.login(next);
  assert.equal(next.asked[0]?.[0], "remove_device_key");
  assert.deepEqual([counts.inner, await signer.has(ID)], [2, true]);
});

test("a key of before its scope and end were kept is as good", async () => {
  const store = memoryStore();
  const { counts, signer, login } = server({ store });
  await login();
  const { scope: _, expires_at: __, ...old } = (await store.get(ID)) as DeviceKey;
  await store.set(ID, old);
  assert.equal(await signer.has(ID), true);
  await login();
  assert.equal(counts.inner, 1);
});

test("a session that the server ends for its key has none any more", async () => {
  for (const [reason, isLeft] of [
    ["device key removed", false],
    ["device key expired", false],
    ["no circle", true],
  ] as const) {
    const { answers, signer, login } = server();
    await login();
    const session = new AbortController();
    await signer.login(later(answers, session.signal));
    session.abort(new ClosedError(`the server closed the connection (1008: ${reason})`, 1008));
    await new Promise(setImmediate);
    assert.equal(await signer.has(ID), isLeft, reason);
  }
});

test("another scope makes another key when somebody logs in, in place of the old one", async () => {
  const store = memoryStore();
  const { known, counts, answers, login } = server({ store, scope: ["play", "subscribe"] });
  await login();
  const [old] = known.keys();
  const inner = {
    async login() {
      counts.inner += 1;
    },
  };
  const same = deviceSigner({ inner, store, scope: ["subscribe", "play"] });
  assert.equal(await same.has(ID), true);
  const other = deviceSigner({ inner, store, scope: ["play"] });
  assert.equal(await other.has(ID), false);
  // Nobody has asked for a login: the key is the caller's all the same.
  await other.login(later(answers));
  assert.deepEqual([counts.inner, [...known.keys()]], [1, [old]]);
  await other.login(exchange(answers));
  await other.login(exchange(answers));
  assert.deepEqual([counts.inner, [...known.values()].map(({ scope }) => scope)], [2, [["play"]]]);
});

test("a store that keeps nothing fails no login: the key lasts as long as the page", async () => {
  const fails = () => Promise.reject(new DOMException("full", "QuotaExceededError"));
  for (const store of [
    { ...memoryStore(), set: fails },
    { get: fails, set: fails, delete: fails },
  ]) {
    const { known, counts, answers, signer, login } = server({ store });
    await login();
    await login();
    await signer.login(later(answers));
    assert.deepEqual([counts.inner, known.size, await signer.has(ID)], [1, 1, true]);
    known.clear();
    await assert.rejects(login(), LoginNeededError);
    await login();
    assert.equal(counts.inner, 2);
  }
  const { signer } = server({ store: { ...memoryStore(), delete: fails } });
  await assert.rejects(signer.forget(ID), /full/);
});

test("without WebCrypto, the inner signer is not asked", async (t) => {
  const { counts, login } = server();
  const own = Object.getOwnPropertyDescriptor(globalThis, "crypto") as PropertyDescriptor;
  t.after(() => Object.defineProperty(globalThis, "crypto", own));
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  await assert.rejects(login(), /need WebCrypto/);
  assert.equal(counts.inner, 0);
});

test("no proof is signed for what is no caller", async () => {
  for (const pubkey of [null, "", `${caller}\nscope: play`, `04${"cd".repeat(32)}`]) {
    const { known, answers, signer } = server();
    const asked = exchange({
      ...answers,
      call: (method, params) => (method === "whoami" ? { pubkey } : answers.call?.(method, params)),
    });
    await assert.rejects(signer.login(asked), LoginTextError);
    assert.deepEqual([asked.asked.length, known.size], [1, 0]);
  }
});

test("a key is not forgotten for any other error", async () => {
  const { counts, answers, signer, login } = server();
  await login();
  for (const error of [refused(-32002, "no_nonce"), refused(-32007), new Error("connection lost")]) {
    const fails: Answers = { ...answers, authenticate: () => Promise.reject(error) };
    await assert.rejects(signer.login(exchange(fails)), error);
  }
  await login();
  assert.equal(counts.inner, 1);
});

test("keys are kept by server and circle, and can be forgotten", async () => {
  const { counts, answers, signer, login } = server();
  await login();
  await signer.login({ ...exchange({ ...answers }), origin: "wss://other.example.org" }).catch(() => {});
  assert.equal(counts.inner, 2);
  await login();
  assert.equal(counts.inner, 2);
  assert.equal(await signer.has(ID), true);
  await signer.forget(ID);
  assert.equal(await signer.has(ID), false);
  await login();
  assert.equal(counts.inner, 3);
});

test("where the server takes no more keys, the inner signer's login stays", async () => {
  for (const code of [-32601, -32005, -32003]) {
    const { counts, answers, signer } = server();
    const why = refused(code);
    const full: Answers = {
      call: (method, params) => (method === "add_device_key" ? Promise.reject(why) : answers.call?.(method, params)),
    };
    await signer.login(exchange(full));
    await signer.login(exchange(full));
    assert.equal(counts.inner, 2);
    // Once the connection is lost, it is told why there is no key.
    await assert.rejects(signer.login(later(full)), (error: Error) => {
      assert.ok(error instanceof LoginNeededError);
      return error.cause === why;
    });
    assert.equal(counts.inner, 2);
  }
  const { answers, signer } = server();
  const wrong = refused(-32602, "scope");
  const call: Answers["call"] = (method, params) =>
    method === "add_device_key" ? Promise.reject(wrong) : answers.call?.(method, params);
  await assert.rejects(signer.login(exchange({ call })), wrong);
});

test("a device key signs no text for another key or circle", async () => {
  const { answers, signer, login } = server();
  await login();
  for (const text of [loginText(caller), "circled login v1"]) {
    const asked = exchange({ ...answers, nonce: () => text });
    await assert.rejects(signer.login(asked), LoginTextError);
    assert.equal(asked.asked.length, 1);
  }
});
