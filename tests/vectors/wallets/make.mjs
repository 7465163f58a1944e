// Makes wallets.json with the libraries that web pages use: npm ci && node make.mjs > wallets.json
// Signatures of nostr-tools are random, so each run makes others.
import { Signature, Wallet } from "ethers";
import { finalizeEvent } from "nostr-tools/pure";
import { makeAuthEvent } from "nostr-tools/nip42";
import { SiweMessage } from "siwe";
import { parseSignature, serializeCompactSignature, signatureToCompactSignature } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { createSiweMessage } from "viem/siwe";

const ORIGIN = "wss://circles.example.org";
const CIRCLE = "0256b328b30c8bf5839e24058747879408bdb36241dc9c2e7c619faa12b2920967";
const KEYS = Array.from({ length: 6 }, (_, at) => (at + 1).toString(16).padStart(2, "0").repeat(32));

const compressed = (key) => new Wallet(`0x${key}`).signingKey.compressedPublicKey.slice(2);

// One signature in every form in which the libraries give it.
async function signatures(key, text) {
  const [wallet, account] = [new Wallet(`0x${key}`), privateKeyToAccount(`0x${key}`)];
  const [ethers, viem] = [await wallet.signMessage(text), await account.signMessage({ message: text })];
  const compact = signatureToCompactSignature(parseSignature(viem));
  return {
    ethers,
    viem,
    ethers_compact: Signature.from(ethers).compactSerialized,
    viem_compact: serializeCompactSignature(compact),
  };
}

const texts = [];
for (const key of KEYS) {
  const text = [
    "circled login v1",
    `origin: ${ORIGIN}`,
    `circle: ${CIRCLE}`,
    `key: ${compressed(key)}`,
    "expires: 2026-11-23T16:45:00Z",
    `nonce: ${key}`,
  ].join("\n");
  texts.push({ pubkey: compressed(key), text, signatures: await signatures(key, text) });
}

const siwe = [];
const pages = ["circles.example.org", "app.example.org:8443", "localhost:5173", "127.0.0.1:8080", "a-b.example", "xn--mnchen-3ya.example"];
const chains = [1, 10, 8453, 11155111, 42161, Number.MAX_SAFE_INTEGER];
for (const [at, key] of KEYS.entries()) {
  const [issued, expires] = [new Date(1795452240000 + at * 37), new Date(1795452300000 + at * 37)];
  const shared = {
    domain: pages[at],
    address: new Wallet(`0x${key}`).address,
    uri: `${ORIGIN}/${CIRCLE}`,
    version: "1",
    chainId: chains[at],
    nonce: KEYS[KEYS.length - 1 - at],
    resources: [`urn:circled:circle:${CIRCLE}`],
  };
  const bySiwe = new SiweMessage({
    ...shared,
    issuedAt: issued.toISOString(),
    expirationTime: expires.toISOString(),
  }).prepareMessage();
  const byViem = createSiweMessage({ ...shared, issuedAt: issued, expirationTime: expires });
  siwe.push({
    domain: shared.domain,
    address: shared.address,
    origin: ORIGIN,
    circle: CIRCLE,
    chain_id: shared.chainId,
    nonce: shared.nonce,
    issued_ms: issued.getTime(),
    expires_ms: expires.getTime(),
    message: { siwe: bySiwe, viem: byViem },
    pubkey: compressed(key),
    signatures: await signatures(key, byViem),
  });
}

const challenge = KEYS[0];
const plain = () => ({ ...makeAuthEvent(`${ORIGIN}/${CIRCLE}`, challenge), created_at: 1795452240 });
const templates = [
  plain(),
  { ...plain(), content: 'lines\n\r\n, tab\t, "quotes", back\\slash, \b\f, / and \u007f, \u2028, é, 円, \u{1f600}' },
  { ...plain(), tags: [["client", "Example", "31990:key:d"], ...plain().tags, ["e", ""], ["\"\\\n", "\t"], ["-"]] },
  { ...plain(), tags: [["challenge", challenge, "more"], ["relay", `WSS://Circles.Example.org:443/${CIRCLE.toUpperCase()}/`]] },
];
const nostr = KEYS.flatMap((key) =>
  templates.map((template) => ({
    pubkey: compressed(key),
    challenge,
    event: finalizeEvent({ ...template }, Uint8Array.from(Buffer.from(key, "hex"))),
  })),
);

console.log(JSON.stringify({ origin: ORIGIN, circle: CIRCLE, texts, siwe, nostr }, null, 1));
