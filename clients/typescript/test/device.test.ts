import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { test } from "node:test";
import { type LoginExchange, LoginTextError } from "../dist/index.js";
import { createDeviceKey, signText } from "../dist/p256.js";
import { type DeviceOptions, deviceSigner, memoryStore } from "../dist/signers.js";
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

test("a key that the server doesn't know any more is forgotten, and the inner signer asked", async () => {
  const { known, counts, login } = server();
  await login();
  known.clear();
  await login();
  await login();
  assert.deepEqual([counts.inner, known.size], [2, 1]);
});

test("it is forgotten also if the inner signer then fails", async () => {
  const store = memoryStore();
  const { login } = server({ store });
  await login();
  const inner = { login: () => Promise.reject(new Error("declined")) };
  const { answers } = server();
  await assert.rejects(deviceSigner({ inner, store }).login(exchange(answers)), /declined/);
  assert.equal(await store.get(`${ORIGIN}/${CIRCLE}`), undefined);
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
  assert.equal(await signer.has(`${ORIGIN}/${CIRCLE}`), true);
  await signer.forget(`${ORIGIN}/${CIRCLE}`);
  assert.equal(await signer.has(`${ORIGIN}/${CIRCLE}`), false);
  await login();
  assert.equal(counts.inner, 3);
});

test("where the server takes no more keys, the inner signer's login stays", async () => {
  for (const code of [-32601, -32005]) {
    const { counts, answers, signer } = server();
    const full: Answers = {
      call: (method, params) =>
        method === "add_device_key" ? Promise.reject(refused(code)) : answers.call?.(method, params),
    };
    await signer.login(exchange(full));
    await signer.login(exchange(full));
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
