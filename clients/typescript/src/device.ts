/** Device keys: after one login by a wallet, this browser logs in by a key of its own, which can't leave it. */

import { parseAddress } from "./address.js";
import { type DeviceKey, type DeviceKeyStore, indexedDbStore } from "./device-store.js";
import { createDeviceKey, signText } from "./p256.js";
import { checkLoginText, type LoginExchange, type Signer } from "./signer.js";

/** The options of a `deviceSigner`. */
export interface DeviceOptions {
  /** Logs in while there is no device key: the first time, and when the key has expired or was removed. */
  readonly inner: Signer;
  /** Where the keys are kept. By default: in IndexedDB. */
  readonly store?: DeviceKeyStore;
  /** What the key may do, of `play`, `call`, `call:<name>`, `subscribe`, `jobs`. By default: all of these. */
  readonly scope?: readonly string[];
  /** A name for the device, 1 to 64 characters, for the list of one's devices. By default: the host of the page. */
  readonly label?: string;
  /** How long the key lasts, in milliseconds. By default: 30 days. */
  readonly ttl?: number;
}

/** A signer that logs in by the key of this device. */
export interface DeviceSigner extends Signer {
  /** Returns true if there is a key for this circle: then a page can log in by itself, most likely without a prompt. */
  has(url: string | URL, origin?: string): Promise<boolean>;
  /** Forgets the key for this circle. The server knows it until it is removed (`remove_device_key`) or expires. */
  forget(url: string | URL, origin?: string): Promise<void>;
}

const DAY = 24 * 60 * 60 * 1000;

/**
 * Logs in by the key of this device, and asks `inner` only where there is none; it then makes one. The key is kept by
 * server and circle. Tabs that begin at the same time ask once, and share the key (where the browser has Web Locks).
 *
 * The session has the scope of the key from the first login on, so a page behaves the same before and after a reload.
 */
export function deviceSigner(options: DeviceOptions): DeviceSigner {
  const store = options.store ?? indexedDbStore();
  return {
    async login(exchange) {
      const id = keptAs(exchange);
      const first = await store.get(id);
      if (first && (await loginByDevice(exchange, first))) return;

      await alone(id, exchange.signal, async () => {
        // Another tab may have made one while this one waited.
        const newest = await store.get(id);
        if (newest && newest.pubkey !== first?.pubkey && (await loginByDevice(exchange, newest))) return;
        if (newest) await store.delete(id);

        await options.inner.login(exchange);
        const added = await addDeviceKey(exchange, options);
        if (added === undefined) return;
        await store.set(id, added);
        await loginByDevice(exchange, added);
      });
    },

    has: async (url, origin) => (await store.get(keptAs(parseAddress(url, origin)))) !== undefined,
    forget: (url, origin) => store.delete(keptAs(parseAddress(url, origin))),
  };
}

function keptAs({ origin, circle }: Pick<LoginExchange, "origin" | "circle">): string {
  return `${origin}/${circle}`;
}

/** Logs in by a device key. Returns false if the server doesn't know it any more. */
async function loginByDevice(exchange: LoginExchange, key: DeviceKey): Promise<boolean> {
  try {
    const text = await exchange.fetchNonce({ pubkey: key.pubkey, scheme: "es256" });
    checkLoginText(text, { origin: exchange.origin, circle: exchange.circle, key: key.pubkey });
    const signature = await signText(key.privateKey, text);
    await exchange.authenticate({ pubkey: key.pubkey, scheme: "es256", signature });
    return true;
  } catch (error) {
    const { code, data } = error as { code?: unknown; data?: { reason?: unknown } };
    if (code === -32002 && data?.reason === "unknown_device") return false;
    throw error;
  }
}

/**
 * Makes a device key for the caller who has just logged in. Returns nothing where the server takes no more: the login then
 * stays the one of the inner signer.
 */
async function addDeviceKey(exchange: LoginExchange, options: DeviceOptions): Promise<DeviceKey | undefined> {
  const { pubkey: caller } = await exchange.call<{ pubkey: string }>("whoami");
  const key = await createDeviceKey();
  const scope = options.scope ?? ["play", "call", "subscribe", "jobs"];
  const label = options.label ?? (globalThis.location?.host.slice(0, 64) || "circled client");
  const expires_at = new Date(Date.now() + (options.ttl ?? 30 * DAY)).toISOString().replace(/\.\d+Z$/, "Z");
  const lines = [
    "circled device v1",
    `circle: ${exchange.circle}`,
    `caller: ${caller}`,
    `key: ${key.pubkey}`,
    `scope: ${scope.join(",")}`,
    `expires: ${expires_at}`,
  ];
  const proof = await signText(key.privateKey, lines.join("\n"));
  try {
    await exchange.call("add_device_key", { pubkey: key.pubkey, label, expires_at, scope, proof });
    return key;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === -32601 || code === -32005) return undefined;
    throw error;
  }
}

/** Runs `work` while no other tab does so under this name, where the browser has Web Locks. */
async function alone(name: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return await work();
  // Given up at once when aborted: a signer that hangs must not lock out the next connection.
  const untilAborted = () =>
    new Promise<void>((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      work().then(resolve, reject);
    });
  await locks.request(`circled device key ${name}`, { signal }, untilAborted);
}
