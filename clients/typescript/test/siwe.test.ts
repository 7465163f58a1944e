import assert from "node:assert/strict";
import { test } from "node:test";
import { SiweMessage } from "siwe";
import { privateKeyToAccount } from "viem/accounts";
import { createSiweMessage } from "viem/siwe";
import { type AuthenticateParams, LoginTextError } from "../dist/index.js";
import { checkSiweMessage, walletSigner } from "../dist/signers.js";
import { CIRCLE, exchange, ORIGIN } from "./harness/exchange.js";

const account = privateKeyToAccount(`0x${"11".repeat(32)}`);
const fields = {
  domain: "app.example.org",
  address: account.address,
  uri: `${ORIGIN}/${CIRCLE}`,
  version: "1" as const,
  chainId: 10,
  nonce: "0f".repeat(32),
  issuedAt: new Date("2026-11-30T12:00:00Z"),
  expirationTime: new Date("2026-11-30T12:01:00Z"),
  resources: [`urn:circled:circle:${CIRCLE}`],
};
const message = createSiweMessage(fields);
const expected = { origin: ORIGIN, circle: CIRCLE, domain: "app.example.org", address: account.address, chainId: 10 };

test("messages of both reference libraries may be signed", () => {
  checkSiweMessage(message, expected);
  const { issuedAt, expirationTime, ...others } = fields;
  const times = { issuedAt: issuedAt.toISOString(), expirationTime: expirationTime.toISOString() };
  checkSiweMessage(new SiweMessage({ ...others, ...times }).toMessage(), expected);
  checkSiweMessage(message, { ...expected, address: account.address.toLowerCase() });
});

test("a message with any other field is refused", () => {
  const others = [
    { ...fields, domain: "evil.example.org" },
    { ...fields, scheme: "https" },
    { ...fields, address: privateKeyToAccount(`0x${"22".repeat(32)}`).address },
    { ...fields, uri: `wss://evil.example.org/${CIRCLE}` },
    { ...fields, uri: `${ORIGIN}/03${"ab".repeat(32)}` },
    { ...fields, chainId: 1 },
    { ...fields, nonce: "0f".repeat(31) },
    { ...fields, statement: "I agree to pay" },
    { ...fields, requestId: "1" },
    { ...fields, notBefore: new Date("2026-11-30T12:00:00Z") },
    { ...fields, resources: [] },
    { ...fields, resources: [`urn:circled:circle:03${"ab".repeat(32)}`] },
    { ...fields, resources: [...fields.resources, "urn:something:else"] },
  ];
  for (const other of others) assert.throws(() => checkSiweMessage(createSiweMessage(other), expected), LoginTextError);
  for (const text of [
    "",
    `${message}\n`,
    message.replaceAll("\n", "\r\n"),
    message.replace("Version: 1", "Version: 2"),
  ]) {
    assert.throws(() => checkSiweMessage(text, expected), LoginTextError, text);
  }
});

/** A wallet like a browser's, which keeps what it was asked. */
function wallet(sign: (message: string) => Promise<string> = (text) => account.signMessage({ message: text })) {
  const prompts: string[] = [];
  const provider = {
    async request({ method, params }: { method: string; params?: unknown[] }): Promise<unknown> {
      if (method === "eth_requestAccounts") return [account.address.toLowerCase()];
      if (method === "eth_chainId") return "0xa";
      assert.equal(method, "personal_sign");
      const [hex, address] = params as [string, string];
      assert.equal(address, account.address.toLowerCase());
      prompts.push(Buffer.from(hex.slice(2), "hex").toString());
      return await sign(prompts.at(-1) ?? "");
    },
  };
  return { provider, prompts };
}

test("a wallet signs the message with one prompt", async () => {
  const { provider, prompts } = wallet();
  let answer: AuthenticateParams = {};
  const login = exchange({
    nonce: (params) => {
      assert.deepEqual(params, { address: account.address.toLowerCase(), chain_id: 10 });
      return message;
    },
    authenticate: (params) => {
      answer = params;
    },
  });
  await walletSigner(async () => provider, { domain: "app.example.org" }).login(login);
  assert.deepEqual(prompts, [message]);
  assert.equal(answer.address, account.address.toLowerCase());
  await new SiweMessage(message).verify(
    { signature: answer.signature ?? "", time: "2026-11-30T12:00:30Z" },
    { suppressExceptions: false },
  );
});

test("a wallet is not asked to sign a message for another page", async () => {
  const { provider, prompts } = wallet();
  const login = exchange({ nonce: () => message });
  await assert.rejects(walletSigner(provider, { domain: "other.example.org" }).login(login), LoginTextError);
  // Outside of pages, the domain is the server's.
  await assert.rejects(walletSigner(provider).login(login), /"circles.example.org wants you/);
  assert.deepEqual(prompts, []);
});

test("where there is no wallet, the login fails before anything is asked for", async () => {
  const login = exchange({});
  await assert.rejects(walletSigner(() => undefined).login(login), /no such wallet/);
  assert.deepEqual(login.asked, []);
});

test("while a prompt is open, a new connection shows no second one", async () => {
  let answer: (signature: string) => void = () => {};
  const { provider, prompts } = wallet(
    () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
  );
  const signer = walletSigner(provider, { domain: "app.example.org" });
  const lost = new AbortController();
  const first = signer.login(exchange({ nonce: () => message }, lost.signal));
  while (prompts.length < 1) await new Promise(setImmediate);
  lost.abort();
  const second = exchange({ nonce: () => message });
  const again = signer.login(second);
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  assert.equal(prompts.length, 1);
  answer("0x01");
  await first;
  while (prompts.length < 2) await new Promise(setImmediate);
  answer("0x02");
  await again;
  assert.deepEqual(second.asked.at(-1), [
    "authenticate",
    { address: account.address.toLowerCase(), signature: "0x02" },
  ]);
});

test("who declines the prompt declines the connection that came meanwhile, too", async () => {
  let decline: (why: Error) => void = () => {};
  const { provider, prompts } = wallet(
    () =>
      new Promise((_resolve, reject) => {
        decline = reject;
      }),
  );
  const signer = walletSigner(provider, { domain: "app.example.org" });
  const first = signer.login(exchange({ nonce: () => message }));
  while (prompts.length < 1) await new Promise(setImmediate);
  const both = [first, signer.login(exchange({}))].map((login) => assert.rejects(login, /User rejected/));
  decline(new Error("User rejected the request."));
  await Promise.all(both);
});

/** A wallet like MetaMask before it knows the page: it asks the person for the account, and refuses to ask twice. */
function askingWallet() {
  const own = wallet();
  let answer: (accounts: string[] | Error) => void = () => {};
  const counts = { asked: 0, isOpen: false, isAllowed: false };
  const provider = {
    async request(call: { method: string; params?: unknown[] }): Promise<unknown> {
      if (call.method !== "eth_requestAccounts" || counts.isAllowed) return await own.provider.request(call);
      counts.asked += 1;
      if (counts.isOpen) throw Object.assign(new Error("already pending"), { code: -32002 });
      counts.isOpen = true;
      const accounts = await new Promise<string[] | Error>((resolve) => {
        answer = resolve;
      });
      counts.isOpen = false;
      if (accounts instanceof Error) throw accounts;
      counts.isAllowed = true;
      return accounts;
    },
  };
  return { provider, counts, prompts: own.prompts, answer: (accounts: string[] | Error) => answer(accounts) };
}

test("a connection that is lost while the wallet asks for the account is followed by one that waits", async () => {
  const { provider, counts, prompts, answer } = askingWallet();
  const lost = new AbortController();
  const domain = { domain: "app.example.org" };
  const first = exchange({}, lost.signal);
  const ended = assert.rejects(walletSigner(provider, domain).login(first), /not expected/);
  while (!counts.isOpen) await new Promise(setImmediate);
  lost.abort();
  // Another signer of the page waits for the same wallet, too.
  const next = [1, 2].map(() => exchange({ nonce: () => message }));
  const logins = next.map((login) => walletSigner(() => provider, domain).login(login));
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  assert.equal(counts.asked, 1);
  answer([account.address.toLowerCase()]);
  await Promise.all([ended, ...logins]);
  assert.deepEqual([counts.asked, prompts.length], [1, 2]);
});

test("logins that wait for one prompt don't open theirs together", async () => {
  const answers: ((signature: string) => void)[] = [];
  const { provider, prompts } = wallet(() => new Promise((resolve) => answers.push(resolve)));
  const signer = walletSigner(provider, { domain: "app.example.org" });
  const logins = [1, 2, 3].map(() => exchange({ nonce: () => message }));
  const all = Promise.all(logins.map((login) => signer.login(login)));
  for (let open = 1; open <= 3; open++) {
    while (answers.length < open) await new Promise(setImmediate);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    assert.equal(prompts.length, open);
    // A text is fetched when its turn comes: it expires after a minute.
    assert.equal(logins.filter(({ asked }) => asked.length > 0).length, open);
    answers[open - 1]?.("0x01");
  }
  await all;
});

test("who doesn't give the account declines the connection that waits, too", async () => {
  const { provider, counts, answer } = askingWallet();
  const signer = walletSigner(provider);
  const both = [1, 2].map(() => assert.rejects(signer.login(exchange({})), /User rejected/));
  while (!counts.isOpen) await new Promise(setImmediate);
  answer(new Error("User rejected the request."));
  await Promise.all(both);
  assert.equal(counts.asked, 1);
});
