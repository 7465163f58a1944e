import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { SigningKey, sha256, toUtf8Bytes } from "ethers";
import { WebSocket } from "ws";
import { CircleError } from "../dist/index.js";
import { checkServer, ServerProofError } from "../dist/prove.js";
import { failure } from "./harness/circle.js";
import { type Answers, exchange, ORIGIN, refused } from "./harness/exchange.js";
import { FakeServer } from "./harness/fake.js";
import { eventually } from "./harness/server.js";

const owner = new SigningKey(`0x${"21".repeat(32)}`);
const key = new SigningKey(`0x${"22".repeat(32)}`);
const publicHex = (of: SigningKey) => of.compressedPublicKey.slice(2);
const circle = publicHex(owner);

function sign(by: SigningKey, text: string): string {
  const { r, s } = by.sign(sha256(toUtf8Bytes(text)));
  return r.slice(2) + s.slice(2);
}

/** A server that proves itself; what is changed about it makes it a false one. */
function prove(
  changed: { owner?: SigningKey; key?: SigningKey; origin?: string; expires?: string; circle?: string } = {},
) {
  const { origin = ORIGIN, expires = "2099-01-01T00:00:00Z" } = changed;
  const server = publicHex(key);
  const text = `circled grant v1\ncircle: ${changed.circle ?? circle}\nserver: ${server}\norigin: ${origin}\nexpires: ${expires}`;
  const grant = { server, origin, expires, signature: sign(changed.owner ?? owner, text) };
  const call: Answers["call"] = (method, params) => {
    assert.equal(method, "prove");
    const { challenge } = params as { challenge: string };
    assert.match(challenge, /^[0-9a-f]{64}$/);
    const proof = `circled proof v1\norigin: ${origin}\ncircle: ${circle}\nchallenge: ${challenge}`;
    return { grant, signature: sign(changed.key ?? key, proof) };
  };
  return { ...exchange({ call }), circle };
}

test("a server that has the owner's grant is trusted", async () => {
  await checkServer(prove(), true);
});

test("a false proof is refused, also where none is required", async () => {
  const stranger = new SigningKey(`0x${"23".repeat(32)}`);
  const cases: [Parameters<typeof prove>[0], RegExp][] = [
    [{ owner: stranger }, /not signed by the circle's key/],
    [{ circle: publicHex(stranger) }, /not signed by the circle's key/],
    [{ key: stranger }, /not signed by the key that the grant names/],
    [{ origin: "wss://evil.example.org" }, /its grant is for wss:\/\/evil.example.org/],
    [{ expires: "2026-01-01T00:00:00Z" }, /expired/],
    [{ expires: "never" }, /expired/],
  ];
  for (const [changed, why] of cases) {
    for (const required of [false, true]) {
      await assert.rejects(checkServer(prove(changed), required), (error: Error) => {
        assert.ok(error instanceof ServerProofError && error instanceof CircleError);
        assert.match(error.message, why);
        return true;
      });
    }
  }
});

test("a proof that was made for another challenge is refused", async () => {
  const { call } = prove();
  const recorded = await call("prove", { challenge: "00".repeat(32) });
  await assert.rejects(checkServer({ ...exchange({ call: () => recorded }), circle }, false), ServerProofError);
});

test("signatures that are none are refused", async () => {
  for (const signature of ["", "zz", "00".repeat(64), undefined]) {
    const answer = { grant: { server: circle, origin: ORIGIN, expires: "2099-01-01T00:00:00Z", signature }, signature };
    await assert.rejects(checkServer({ ...exchange({ call: () => answer }), circle }, false), ServerProofError);
  }
});

test("a server without a grant is refused only if a proof is required", async () => {
  for (const code of [-32006, -32601]) {
    const none = { ...exchange({ call: () => Promise.reject(refused(code)) }), circle };
    await checkServer(none, false);
    await assert.rejects(checkServer(none, true), ServerProofError);
  }
  const busy = refused(-32007);
  await assert.rejects(checkServer({ ...exchange({ call: () => Promise.reject(busy) }), circle }, false), busy);
});

test("where the check of a proof can't be loaded, it is tried again", async (t) => {
  mkdirSync("build/without-proof", { recursive: true });
  const folder = mkdtempSync("build/without-proof/");
  cpSync("dist", folder, { recursive: true });
  rmSync(`${folder}/proof.js`);
  const { connect } = (await import(pathToFileURL(`${folder}/index.js`).href)) as typeof import("../dist/index.js");
  const server = await FakeServer.start(t);
  server.proof = { result: { grant: {}, signature: "" } };
  const connecting = failure(connect({ url: server.url, WebSocket, signer: { login: async () => {} } }));
  await eventually("another attempt", () => server.connections > 1);
  cpSync("dist/proof.js", `${folder}/proof.js`);
  const error = await connecting;
  assert.equal(error.name, "ServerProofError", String(error));
});
