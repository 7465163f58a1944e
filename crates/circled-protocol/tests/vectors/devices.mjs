// Makes devices.json with WebCrypto: `node devices.mjs > devices.json` (Node 20 or later). Each run makes other keys.
import { webcrypto } from "node:crypto";

const { subtle } = webcrypto;
const HALF = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n;
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const algorithm = { name: "ECDSA", namedCurve: "P-256" };

// The keys of the secrets 0101...01 and 0202...02, as in the other tests.
const circle = "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f";
const caller = "024d4b6cd1361032ca9bd2aeb9d900aa4d45d9ead80ac9423374c451a7254d0766";

async function device() {
  const pair = await subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const raw = new Uint8Array(await subtle.exportKey("raw", pair.publicKey));
  const { d } = await subtle.exportKey("jwk", pair.privateKey);
  const pubkey = hex([2 + (raw[64] & 1), ...raw.slice(1, 33)]);
  return { pair, pubkey, uncompressed: hex(raw), secret: hex(Buffer.from(d, "base64url")) };
}

async function signed({ pair }, text, high) {
  for (;;) {
    const bytes = await subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, new TextEncoder().encode(text));
    const signature = hex(bytes);
    if (BigInt("0x" + signature.slice(64)) > HALF === high) return signature;
  }
}

const vectors = [];
for (const scope of [["call", "subscribe"], ["play"], ["call:chat/send", "jobs"]]) {
  for (const high of [false, true]) {
    const made = await device();
    const expires = "2099-02-27T00:00:00Z";
    const claim = ["circled device v1", `circle: ${circle}`, `caller: ${caller}`, `key: ${made.pubkey}`, `scope: ${scope.join(",")}`, `expires: ${expires}`].join("\n");
    const login = ["circled login v1", "origin: wss://circles.example.org", `circle: ${circle}`, `key: ${made.pubkey}`, "expires: 2026-11-23T16:45:00Z", `nonce: ${"ab".repeat(32)}`].join("\n");
    vectors.push({
      pubkey: made.pubkey,
      uncompressed: made.uncompressed,
      secret: made.secret,
      circle,
      caller,
      scope,
      expires,
      high_s: high,
      claim,
      proof: await signed(made, claim, high),
      login,
      signature: await signed(made, login, high),
    });
  }
}
console.log(JSON.stringify(vectors, null, 2));
