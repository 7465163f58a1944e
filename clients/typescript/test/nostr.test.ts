import assert from "node:assert/strict";
import { test } from "node:test";
import { finalizeEvent, getPublicKey, nip42, verifyEvent } from "nostr-tools";
import { LoginTextError } from "../dist/index.js";
import { nostrSigner } from "../dist/signers.js";
import { CIRCLE, exchange, ORIGIN } from "./harness/exchange.js";

const secret = new Uint8Array(32).fill(7);
const challenge = "0c".repeat(32);
const signed: unknown[] = [];
const nostr = {
  getPublicKey: async () => getPublicKey(secret),
  signEvent: async (event: Parameters<typeof finalizeEvent>[0]) => {
    signed.push(event);
    return finalizeEvent(event, secret);
  },
};

test("a Nostr signer signs the event of NIP-42", async () => {
  const login = exchange({ nonce: () => challenge });
  await nostrSigner(nostr).login(login);
  assert.deepEqual(login.asked[0], ["fetch_nonce", { pubkey: getPublicKey(secret), scheme: "nostr" }]);
  const [, { event }] = login.asked[1] as [string, { event: ReturnType<typeof finalizeEvent> }];
  assert.ok(verifyEvent(event));
  const { created_at, ...reference } = nip42.makeAuthEvent(`${ORIGIN}/${CIRCLE}`, challenge);
  assert.deepEqual([event.kind, event.tags, event.content], [reference.kind, reference.tags, reference.content]);
  assert.ok(Math.abs(created_at - event.created_at) < 60);
});

test("what is no challenge is not signed", async () => {
  signed.length = 0;
  for (const other of ["", challenge.slice(2), `${challenge}\n`, "circled login v1"]) {
    await assert.rejects(nostrSigner(nostr).login(exchange({ nonce: () => other })), LoginTextError);
  }
  assert.deepEqual(signed, []);
});
