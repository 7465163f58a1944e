import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddress, parseKey, parseOrigin } from "../dist/address.js";
import { checkLoginText, LoginTextError } from "../dist/signer.js";

const circle = `02${"ab".repeat(32)}`;
const key = `03${"cd".repeat(32)}`;
const expected = { origin: "wss://circles.example.org", circle, key };
const text = [
  "circled login v1",
  "origin: wss://circles.example.org",
  `circle: ${circle}`,
  `key: ${key}`,
  "expires: 2026-11-23T16:45:00Z",
  `nonce: ${"01".repeat(32)}`,
].join("\n");

test("a text for this server, circle and key may be signed", () => {
  checkLoginText(text, expected);
  checkLoginText(text, { ...expected, origin: "WSS://Circles.example.org:443" });
});

test("a text for another server, circle or key is refused", () => {
  const elsewhere = [
    { ...expected, origin: "wss://circles.example.com" },
    { ...expected, origin: "ws://circles.example.org" },
    { ...expected, origin: "wss://circles.example.org:8443" },
    { ...expected, origin: "" },
    { ...expected, circle: key },
    { ...expected, key: circle },
  ];
  for (const other of elsewhere) assert.throws(() => checkLoginText(text, other), LoginTextError);
});

test("every changed character makes it another text", () => {
  const odd = [
    "",
    `${text}\n`,
    ` ${text}`,
    text.replaceAll("\n", "\r\n"),
    text.toUpperCase(),
    text.replace("v1", "v2"),
  ];
  for (const other of odd) assert.throws(() => checkLoginText(other, expected), LoginTextError);
  // The time and the nonce may be any.
  for (let at = 0; at < text.indexOf("expires: "); at++) {
    const other = `${text.slice(0, at)}#${text.slice(at + 1)}`;
    assert.throws(() => checkLoginText(other, expected), LoginTextError, other);
  }
});

test("an address names a server and a circle", () => {
  const x = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
  const y = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
  assert.deepEqual(parseAddress(`wss://Example.org:443/0x04${x}${y}`.replace("be", "BE")), {
    url: `wss://Example.org:443/0x0479BE${x.slice(4)}${y}`,
    origin: "wss://example.org",
    circle: `02${x}`,
  });
  assert.equal(parseAddress(`ws://[::1]:8080/03${x}`, "wss://A.example:8443").origin, "wss://a.example:8443");
  assert.equal(parseKey(`04${x}${y.slice(0, -1)}9`), `03${x}`);
  for (const wrong of ["", "example.org", `http://a/02${x}`, "ws://a/", `ws://a/05${x}`, `ws://me@a/02${x}`]) {
    assert.throws(() => parseAddress(wrong), TypeError, wrong);
  }
  for (const wrong of [
    "",
    "null",
    "example.org",
    "https://a",
    "wss://",
    "wss://me@a",
    "wss://a/path",
    "wss://a?x",
    "wss://a:99999",
  ]) {
    assert.equal(parseOrigin(wrong), undefined, wrong);
    assert.throws(() => parseAddress(`ws://a/02${x}`, wrong), TypeError, wrong);
  }
});
