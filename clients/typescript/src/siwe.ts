/** Logins of browser wallets, which know an address only: EIP-1193 providers, found by EIP-6963, sign an EIP-4361 message. */

import { parseOrigin } from "./address.js";
import { type LoginExchange, LoginTextError, type Signer } from "./signer.js";

/** The part of an EIP-1193 provider that a login needs. `window.ethereum` is one. */
export interface EthereumProvider {
  // biome-ignore lint/suspicious/noExplicitAny: libraries declare the parameters in ways that exclude each other
  request(args: any): Promise<unknown>;
}

/** A wallet that has announced itself to the page, as EIP-6963 says. */
export interface Wallet {
  readonly info: { readonly uuid: string; readonly name: string; readonly icon: string; readonly rdns: string };
  readonly provider: EthereumProvider;
}

type Maybe<T> = T | undefined;

/** Returns the wallets that announce themselves to this page within `wait` milliseconds. */
export async function wallets(wait = 100): Promise<Wallet[]> {
  const found = new Map<string, Wallet>();
  const add = (event: Event): void => {
    const { detail } = event as CustomEvent<Wallet>;
    found.set(detail.info.uuid, detail);
  };
  addEventListener("eip6963:announceProvider", add);
  dispatchEvent(new Event("eip6963:requestProvider"));
  await new Promise((resolve) => setTimeout(resolve, wait));
  removeEventListener("eip6963:announceProvider", add);
  return [...found.values()];
}

/**
 * Logs in by a wallet: it asks for the account, and then shows one prompt. The caller is the public key of that account.
 * The wallet may be chosen when it is needed: give a function that returns its provider.
 *
 * A wallet is asked for one login at a time, by all signers of the page: a new connection waits until the person has answered
 * the prompt of another one, and fails if that was declined. `domain` is the host of the page, which the message must name;
 * outside of pages, it is the server's.
 */
export function walletSigner(
  wallet: EthereumProvider | (() => Maybe<EthereumProvider> | Promise<Maybe<EthereumProvider>>),
  options: { readonly domain?: string } = {},
): Signer {
  return {
    async login(exchange) {
      const provider = typeof wallet === "function" ? await wallet() : wallet;
      if (!provider) throw new Error("there is no such wallet in this browser");
      await exchange.authenticate(
        await inTurn(provider, async (request) => {
          exchange.signal.throwIfAborted();
          const [address] = (await request("eth_requestAccounts")) as string[];
          if (address === undefined) throw new Error("the wallet has given no account");
          const chainId = Number(await request("eth_chainId"));
          const message = await exchange.fetchNonce({ address, chain_id: chainId });
          const domain = options.domain ?? globalThis.location?.host ?? new URL(exchange.origin).host;
          checkSiweMessage(message, { origin: exchange.origin, circle: exchange.circle, domain, address, chainId });
          exchange.signal.throwIfAborted();
          const signature = (await request("personal_sign", [toHex(message), address])) as string;
          return { address, signature };
        }),
      );
    },
  };
}

/** The turn that each wallet has now. It fails if the wallet has refused something, as when the person declines. */
const turns = new WeakMap<EthereumProvider, Promise<unknown>>();

/** Runs `work` while no other has a turn with this wallet: it would refuse a second request, or show a prompt more. */
async function inTurn<T>(
  wallet: EthereumProvider,
  work: (request: (method: string, params?: unknown[]) => Promise<unknown>) => Promise<T>,
): Promise<T> {
  // Of those that have waited, one begins; the others wait again.
  for (let other = turns.get(wallet); other; other = turns.get(wallet)) await other;
  let last: Promise<unknown> | undefined;
  const done = work((method, params) => {
    last = wallet.request({ method, params });
    return last;
  });
  const turn = done.catch(() => last).finally(() => turns.delete(wallet));
  turn.catch(() => {});
  turns.set(wallet, turn);
  return await done;
}

const CHOSEN_BY_SERVER = /\nNonce: ([0-9a-f]{64})\nIssued At: ([0-9TZ:.-]+)\nExpiration Time: ([0-9TZ:.-]+)\n/;

/**
 * Checks an EIP-4361 message to the letter, before it is signed: it must be for this page, server, circle and address.
 * Throws a `LoginTextError` otherwise.
 */
export function checkSiweMessage(
  message: string,
  expected: Pick<LoginExchange, "origin" | "circle"> & {
    readonly domain: string;
    readonly address: string;
    readonly chainId: number;
  },
): void {
  const [, nonce, issuedAt, expirationTime] = CHOSEN_BY_SERVER.exec(message) ?? [];
  const lines = [
    `${expected.domain} wants you to sign in with your Ethereum account:`,
    expected.address,
    "",
    "",
    `URI: ${parseOrigin(expected.origin)}/${expected.circle}`,
    "Version: 1",
    `Chain ID: ${expected.chainId}`,
    `Nonce: ${nonce}`,
    `Issued At: ${issuedAt}`,
    `Expiration Time: ${expirationTime}`,
    "Resources:",
    `- urn:circled:circle:${expected.circle}`,
  ];
  const found = message.split("\n");
  for (let at = 0; at < Math.max(lines.length, found.length); at++) {
    // An address has no case of its own: that is a checksum.
    const isAddress = at === 1 && found[at]?.toLowerCase() === lines[at]?.toLowerCase();
    if (found[at] !== lines[at] && !isAddress) {
      const [is, expects] = [found[at], lines[at]].map((line) => JSON.stringify(line) ?? "nothing");
      throw new LoginTextError(`the message was not signed: its line ${at + 1} is ${is}, and not ${expects}`);
    }
  }
}

function toHex(text: string): string {
  return `0x${Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
