/** Logins by a wallet or a Nostr signer, which is asked once: after a reload, a device key of this browser logs in. */

import type { LoginExchange, Signer } from "@circled/client";
import {
  type DeviceKeyStore,
  deviceSigner,
  type EthereumProvider,
  indexedDbStore,
  LoginNeededError,
  type NostrProvider,
  nostrSigner,
  walletSigner,
  wallets,
} from "@circled/client/signers";
import { PLACE } from "../local.js";

/** A signer of this browser for one circle. */
export interface BrowserSigner extends Signer {
  /** Returns true if there is a device key: then a login asks nobody. */
  has(): Promise<boolean>;
  forget(): Promise<void>;
  /** Returns the public key of the device key, once a login has used it. */
  device(): string | undefined;
  /** Has the next login ask the wallet, though there may be a device key: the session is the caller's own then. */
  askNext(): void;
}

/** What logs in with a prompt. */
export type Prompting = { readonly kind: "wallet"; readonly rdns: string | undefined } | { readonly kind: "nostr" };

async function findWallet(rdns: string | undefined): Promise<EthereumProvider | undefined> {
  const found = await wallets();
  return (found.find(({ info }) => info.rdns === rdns) ?? (rdns ? undefined : found[0]))?.provider;
}

/** Returns the Nostr signer of this browser, if it has one. */
export function nostrProvider(): NostrProvider | undefined {
  return (globalThis as { nostr?: NostrProvider }).nostr;
}

function inner(prompting: Prompting): Signer {
  if (prompting.kind === "wallet") return walletSigner(() => findWallet(prompting.rdns));
  const provider = nostrProvider();
  return provider
    ? nostrSigner(provider)
    : { login: () => Promise.reject(new Error("there is no Nostr signer in this browser")) };
}

/** The login of the device key is left out, so that the session stays the one of the wallet. */
function withoutDevice(exchange: LoginExchange): LoginExchange {
  return {
    ...exchange,
    signal: exchange.signal,
    authenticate: async (params) => {
      if (params.scheme !== "es256") await exchange.authenticate(params);
    },
  };
}

/**
 * Returns a signer for the circle at `url`; `caller` is whose device key this browser has, if it has one. A login that somebody has asked for (`askNext`) is that of the wallet, with all rights
 * of the caller, and adds a device key. All others are by the device key, without a prompt: it can't manage.
 */
export function browserSigner(url: string, prompting: Prompting, caller?: string): BrowserSigner {
  let isAsked = false;
  let isIn = false;
  let known: string | undefined;
  const kept = indexedDbStore(`${PLACE}:devices`);
  const store: DeviceKeyStore = {
    ...kept,
    async get(id) {
      const key = await kept.get(id);
      known = key?.pubkey;
      return key;
    },
    async set(id, key) {
      known = key.pubkey;
      await kept.set(id, key);
    },
  };
  const device = deviceSigner({
    store,
    label: `console at ${location.host}`.slice(0, 64),
    inner: {
      async login() {
        if (!isIn) throw new LoginNeededError("this browser has no device key that is good any more: log in again");
      },
    },
  });
  return {
    has: () => device.has(url),
    forget: () => device.forget(url),
    device: () => known,
    askNext() {
      isAsked = true;
    },
    async login(exchange) {
      if (!isAsked || !exchange.isFirst) return await device.login(exchange);
      await inner(prompting).login(exchange);
      isAsked = false;
      isIn = true;
      try {
        const { pubkey } = await exchange.call<{ pubkey: string }>("whoami");
        if (pubkey === caller && (await device.has(url))) return;
        await device.forget(url);
        await device.login(withoutDevice(exchange));
      } finally {
        isIn = false;
      }
    },
  };
}
