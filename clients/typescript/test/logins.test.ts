/** Logins at the real server, by what other people's libraries sign. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SigningKey, Wallet } from "ethers";
import { finalizeEvent, getPublicKey } from "nostr-tools";
import { SiweMessage } from "siwe";
import { hexToBytes, hexToString } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { parseSiweMessage, validateSiweMessage } from "viem/siwe";
import { WebSocket } from "ws";
import { type Circle, connect, type RpcError, type Signer } from "../dist/index.js";
import { type KeyScheme, keySigner, SecretKey } from "../dist/keys.js";
import {
  type DeviceOptions,
  deviceSigner,
  LoginNeededError,
  memoryStore,
  nostrSigner,
  walletSigner,
} from "../dist/signers.js";
import { Network } from "./harness/network.js";
import { eventually, TestServer } from "./harness/server.js";

const owner = SecretKey.fromHex("11".repeat(32));
const secret = `0x${"a1".repeat(32)}` as const;
const pubkey = new SigningKey(secret).compressedPublicKey.slice(2);
let server: TestServer;
let url: string;

before(async () => {
  server = await TestServer.start();
  url = `${server.origin}/${owner.pubkey}`;
});
after(() => server?.stop());

/** Logs in, and closes the connection after `use`. */
async function loggedIn<T>(signer: Signer, use: (circle: Circle) => Promise<T>): Promise<T> {
  const circle = await connect({ url, signer, WebSocket });
  try {
    return await use(circle);
  } finally {
    circle.close();
  }
}

const whoami = (circle: Circle) => circle.whoami();

/** An EIP-1193 provider that signs with a library, and keeps the messages. */
function provider(address: string, sign: (message: string) => Promise<string>) {
  const messages: string[] = [];
  return {
    messages,
    async request({ method, params }: { method: string; params?: unknown[] }): Promise<unknown> {
      if (method === "eth_requestAccounts") return [address];
      if (method === "eth_chainId") return "0x2105";
      const message = hexToString(params?.[0] as `0x${string}`);
      messages.push(message);
      return await sign(message);
    },
  };
}

test("a local key logs in by each scheme, as the same caller", async () => {
  for (const scheme of ["eip191", "sha256", "schnorr"] satisfies KeyScheme[]) {
    const { pubkey: caller, role } = await loggedIn(keySigner(owner, { scheme }), whoami);
    // BIP-340 knows the x coordinate only: this key's y is the one that it means.
    assert.deepEqual([caller, role], [owner.pubkey, "owner"], scheme);
  }
});

test("wallets of viem and ethers log in, as the account's public key", async () => {
  const viem = privateKeyToAccount(secret);
  const ethers = new Wallet(secret);
  for (const wallet of [
    provider(viem.address, (message) => viem.signMessage({ message })),
    provider(ethers.address.toLowerCase(), (message) => ethers.signMessage(message)),
  ]) {
    const { pubkey: caller, role } = await loggedIn(walletSigner(wallet), whoami);
    assert.deepEqual([caller, role], [pubkey, "guest"]);
    assert.equal(wallet.messages.length, 1);
  }
});

test("the server's message is one for both reference libraries", async () => {
  const account = privateKeyToAccount(secret);
  const wallet = provider(account.address, (message) => account.signMessage({ message }));
  await loggedIn(walletSigner(wallet), whoami);
  const [message = ""] = wallet.messages;
  const domain = new URL(server.origin).host;

  const parsed = new SiweMessage(message);
  assert.equal(parsed.prepareMessage(), message);
  const signature = await account.signMessage({ message });
  const checked = await parsed.verify({ signature, domain, nonce: parsed.nonce });
  assert.ok(checked.success);

  const fields = parseSiweMessage(message);
  assert.ok(validateSiweMessage({ address: account.address, domain, message: fields, nonce: parsed.nonce }));
  assert.deepEqual(
    [fields.uri, fields.chainId, fields.version, fields.resources, fields.statement],
    [url, 0x2105, "1", [`urn:circled:circle:${owner.pubkey}`], undefined],
  );
  const lasts = Number(fields.expirationTime) - Number(fields.issuedAt);
  assert.ok(lasts > 0 && lasts <= 60_000);
});

test("a connection that is lost while a wallet asks for the account is made again, and the wallet asked once", async (t) => {
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const account = privateKeyToAccount(secret);
  const wallet = provider(account.address, (message) => account.signMessage({ message }));
  let asked = 0;
  let allow = () => {};
  const allowed = new Promise<void>((resolve) => {
    allow = resolve;
  });
  let isAllowed = false;
  const slow = walletSigner({
    async request(call: { method: string; params?: unknown[] }): Promise<unknown> {
      if (call.method === "eth_requestAccounts" && !isAllowed) {
        asked += 1;
        // As MetaMask does.
        if (asked > 1) throw Object.assign(new Error("already pending"), { code: -32002 });
        await allowed;
        isAllowed = true;
      }
      return await wallet.request(call);
    },
  });
  const there = url.replace(`${server.port}`, `${network.port}`);
  const connected = connect({ url: there, origin: server.origin, signer: slow, WebSocket });
  await Promise.race([connected, eventually("the prompt", () => asked === 1)]);
  network.cut();
  await Promise.race([connected, eventually("a new connection", () => network.connections === 2)]);
  // Long enough for its login to begin.
  await new Promise((resolve) => setTimeout(resolve, 100));
  allow();
  const circle = await connected;
  assert.equal((await circle.whoami()).pubkey, pubkey);
  assert.deepEqual([asked, wallet.messages.length], [1, 1]);
  circle.close();
});

test("another account's signature is refused, and asked for once", async () => {
  const account = privateKeyToAccount(secret);
  const other = privateKeyToAccount(`0x${"a2".repeat(32)}`);
  const wallet = provider(account.address, (message) => other.signMessage({ message }));
  await assert.rejects(loggedIn(walletSigner(wallet), whoami), { code: -32002, data: { reason: "bad_signature" } });
  assert.equal(wallet.messages.length, 1);
});

/** A device signer with a wallet of its own, and how often that was asked. */
function device(secret: `0x${string}`, options: Partial<DeviceOptions> = {}) {
  const counts = { inner: 0 };
  const account = privateKeyToAccount(secret);
  const wallet = walletSigner(provider(account.address, (message) => account.signMessage({ message })));
  const inner: Signer = {
    login: (exchange) => {
      counts.inner += 1;
      return wallet.login(exchange);
    },
  };
  return { counts, wallet, signer: deviceSigner({ inner, store: memoryStore(), ...options }) };
}

test("a Nostr signer logs in, as the key with its x coordinate", async () => {
  const key = hexToBytes(secret);
  const signer = nostrSigner({
    getPublicKey: async () => getPublicKey(key),
    signEvent: async (event) => finalizeEvent(event, key),
  });
  assert.equal((await loggedIn(signer, whoami)).pubkey, `02${getPublicKey(key)}`);
});

test("a device key acts for the caller, no more than its scope, until it is removed", async () => {
  const { counts, wallet, signer } = device(`0x${"b1".repeat(32)}`, { scope: ["play"], label: "test" });
  const first = await loggedIn(signer, whoami);
  const circle = await connect({ url, signer, WebSocket });
  try {
    const again = await circle.whoami();
    assert.equal(again.pubkey, first.pubkey);
    assert.match(again.device ?? "", /^0[23][0-9a-f]{64}$/);
    assert.equal(again.device, first.device);
    assert.equal(counts.inner, 1);
    assert.equal((await circle.play("CALLER_ID")).value, first.pubkey);
    await assert.rejects(circle.submitJob({ script: "1" }), { code: -32003 });

    const { device_keys: keys } = await loggedIn(wallet, (own) => own.listDeviceKeys());
    assert.deepEqual(
      keys.map((key) => [key.pubkey, key.label, key.scope]),
      [[again.device, "test", ["play"]]],
    );
    const { removed } = await loggedIn(wallet, (own) => own.removeDeviceKey({ pubkey: again.device ?? "" }));
    assert.ok(removed);
    await eventually("the session to be out", () => circle.getSnapshot().phase === "closed", 1000);
    assert.match(String(await circle.closed), /device key removed/);
  } finally {
    circle.close();
  }
  // Whoever connects again is asked again.
  const next = await loggedIn(signer, whoami);
  assert.equal(counts.inner, 2);
  assert.notEqual(next.device, first.device);
});

test("a device key that was removed while the page was offline ends the connection, without a prompt", async (t) => {
  const network = await Network.start(server.port);
  t.after(() => network.stop());
  const { counts, wallet, signer } = device(`0x${"b2".repeat(32)}`);
  const options = { signer, WebSocket, origin: server.origin };
  const circle = await connect({ ...options, url: url.replace(`${server.port}`, `${network.port}`) });
  const { device: key } = await circle.whoami();
  network.silence();
  await loggedIn(wallet, (own) => own.removeDeviceKey({ pubkey: key ?? "" }));
  network.cut();
  await eventually("the end", () => circle.getSnapshot().phase === "closed");
  const error = await circle.closed;
  assert.ok(error instanceof LoginNeededError);
  assert.equal((error.cause as RpcError).data.reason, "unknown_device");
  assert.equal(counts.inner, 1);
  assert.equal(await signer.has(url), false);
  assert.notEqual((await loggedIn(signer, whoami)).device, key);
  assert.equal(counts.inner, 2);
});

test("a caller who can have no device key is logged in by the wallet, and not asked again by a lost connection", async (t) => {
  const full = await TestServer.start({ rest: "[auth]\nmax_device_keys = 1" });
  t.after(() => full.stop());
  const closed = await TestServer.start({
    rest: '[circles]\nplay = "member"\ncall = "member"\nsubscribe = "member"',
  });
  t.after(() => closed.stop());
  for (const [on, code] of [
    [full, -32005],
    [closed, -32003],
  ] as const) {
    const there = `${on.origin}/${owner.pubkey}`;
    // The first one takes the only place.
    if (on === full) (await connect({ url: there, signer: device(`0x${"b3".repeat(32)}`).signer, WebSocket })).close();
    const network = await Network.start(on.port);
    t.after(() => network.stop());
    const { counts, signer } = device(`0x${"b3".repeat(32)}`);
    const circle = await connect({
      url: there.replace(`${on.port}`, `${network.port}`),
      origin: on.origin,
      signer,
      WebSocket,
    });
    const { authenticated, device: key } = await circle.whoami();
    assert.deepEqual([authenticated, key], [true, null]);
    network.cut();
    await eventually("the end", () => circle.getSnapshot().phase === "closed");
    const error = await circle.closed;
    assert.ok(error instanceof LoginNeededError, String(error));
    assert.equal((error.cause as RpcError).code, code);
    assert.equal(counts.inner, 1);
  }
});

test("a device logs itself out for good", async () => {
  const { counts, wallet, signer } = device(`0x${"b4".repeat(32)}`);
  const circle = await connect({ url, signer, WebSocket });
  const { device: key } = await circle.whoami();
  assert.deepEqual(
    (await circle.listDeviceKeys()).device_keys.map(({ pubkey }) => pubkey),
    [key],
  );
  assert.deepEqual(await circle.removeDeviceKey({ pubkey: key ?? "" }), { removed: true });
  await signer.forget(url);
  circle.close();
  assert.deepEqual((await loggedIn(wallet, (own) => own.listDeviceKeys())).device_keys, []);
  assert.equal(counts.inner, 1);
});
