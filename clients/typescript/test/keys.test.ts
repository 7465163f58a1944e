import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { computeAddress, SigningKey, sha256, toUtf8Bytes, verifyMessage } from "ethers";
import { getEventHash, serializeEvent, verifyEvent } from "nostr-tools";
import { LoginTextError } from "../dist/index.js";
import { type KeyScheme, keySigner, SecretKey } from "../dist/keys.js";
import { CIRCLE, exchange, loginText } from "./harness/exchange.js";

const hex = "1f".repeat(32);
const key = SecretKey.fromHex(hex);
const reference = new SigningKey(`0x${hex}`);

test("a key is the one that other libraries know by this number", () => {
  assert.equal(key.pubkey, reference.compressedPublicKey.slice(2));
  assert.equal(SecretKey.fromHex(` 0x${hex.toUpperCase()}\n`).pubkey, key.pubkey);
  assert.equal(key.revealHex(), hex);
  assert.notEqual(SecretKey.generate().pubkey, SecretKey.generate().pubkey);
});

test("what is no key is refused, without being printed", () => {
  for (const wrong of ["", hex.slice(1), `${hex}00`, "zz".repeat(32), "00".repeat(32), "ff".repeat(32)]) {
    assert.throws(
      () => SecretKey.fromHex(wrong),
      (error: Error) => error instanceof TypeError && (wrong === "" || !error.message.includes(wrong)),
    );
  }
});

test("a key doesn't print itself", () => {
  for (const printed of [inspect(key, { showHidden: true }), JSON.stringify(key), String(key)]) {
    assert.ok(!printed.includes(hex) && !printed.includes("31, 31"), printed);
  }
});

test("other libraries take its signatures", async () => {
  const text = "grüße\n";
  const eip191 = await key.sign(text, "eip191");
  assert.ok([27, 28].some((v) => verifyMessage(text, `0x${eip191}${v.toString(16)}`) === computeAddress(reference)));
  const { r, s } = reference.sign(sha256(toUtf8Bytes(text)));
  assert.equal(await key.sign(text, "sha256"), r.slice(2) + s.slice(2));
  // A Nostr event's id is the SHA-256 of its content, so the scheme's signature over that is the event's.
  const event = { pubkey: key.pubkey.slice(2), created_at: 1, kind: 1, tags: [], content: "hi" };
  const sig = await key.sign(serializeEvent(event), "schnorr");
  assert.ok(verifyEvent({ ...event, id: getEventHash(event), sig }));
});

test("it logs in by each scheme, and signs no text for another key", async () => {
  for (const scheme of ["eip191", "sha256", "schnorr"] satisfies KeyScheme[]) {
    const login = exchange({ nonce: ({ pubkey = "" }) => loginText(pubkey) });
    await keySigner(key, { scheme }).login(login);
    const [, sent] = login.asked[1] as [string, { signature: string }];
    assert.match(sent.signature, /^[0-9a-f]{128}$/);
    assert.deepEqual(sent, { pubkey: key.pubkey, scheme, signature: sent.signature });
  }
  for (const text of [loginText(CIRCLE), loginText(key.pubkey, `03${"ab".repeat(32)}`)]) {
    await assert.rejects(keySigner(key).login(exchange({ nonce: () => text })), LoginTextError);
  }
});
