/** Device keys: after one login by a wallet, this browser logs in by a key of its own, which can't leave it. */

import { parseAddress } from "./address.js";
import { type DeviceKey, type DeviceKeyStore, indexedDbStore, orInMemory } from "./device-store.js";
import { CircleError, LoginTextError } from "./errors.js";
import { createDeviceKey, signText } from "./p256.js";
import { checkLoginText, type LoginExchange, type Signer } from "./signer.js";

/** The options of a `deviceSigner`. */
export interface DeviceOptions {
  /** Logs in when somebody asks for a login (`connect`) and there is no device key, or one that has expired. */
  readonly inner: Signer;
  /** Where the keys are kept. By default: in IndexedDB. */
  readonly store?: DeviceKeyStore;
  /**
   * What the key may do, of `play`, `call`, `call:<name>`, `subscribe`, `jobs`. By default: all of these. If it is another one
   * than before, the next `connect` makes a new key.
   */
  readonly scope?: readonly string[];
  /** A name for the device, 1 to 64 characters, for the list of one's devices. By default: the host of the page. */
  readonly label?: string;
  /** How long the key lasts, in milliseconds. By default: 30 days. */
  readonly ttl?: number;
}

/** A signer that logs in by the key of this device. */
export interface DeviceSigner extends Signer {
  /** Returns true if there is a key for this circle that hasn't expired: then `connect` shows no prompt. */
  has(url: string | URL, origin?: string): Promise<boolean>;
  /** Forgets the key for this circle. The server knows it until it is removed (`remove_device_key`) or expires. */
  forget(url: string | URL, origin?: string): Promise<void>;
}

/**
 * There is no key of this device that the server takes, and nobody has asked for a login: the key has expired or was removed, or
 * there never was one. The wallet was not asked. The next `connect` may ask it, so show the button for that. `cause` is the
 * server's error.
 */
export class LoginNeededError extends CircleError {
  override name = "LoginNeededError";
}

const DAY = 24 * 60 * 60 * 1000;
/** Unknown method (an old server), forbidden (a stranger), too many: the caller can't have a device key. */
const HAS_NO_KEYS = new Set<unknown>([-32601, -32003, -32005]);
/** How the server ends the sessions of a device key. */
const KEY_IS_OVER = /\(1008: device key (removed|expired)\)$/;

/**
 * Logs in by the key of this device. It asks `inner` where there is none, and makes one; but only in the first login of a
 * `connect`. If the server doesn't know the key any more, or a connection was lost and there is no key, nobody expects a prompt:
 * the login fails with a `LoginNeededError`, and the next `connect` may ask.
 *
 * The key is kept by server and circle. Tabs that begin at the same time ask once, and share the key (where the browser has Web
 * Locks). The session has the scope of the key from the first login on, so a page behaves the same before and after a reload.
 */
export function deviceSigner(options: DeviceOptions): DeviceSigner {
  const store = orInMemory(options.store ?? indexedDbStore());
  const { scope = ["play", "call", "subscribe", "jobs"] } = options;
  /** Why the server has taken no key, by the id that it would have. */
  const refusals = new Map<string, unknown>();
  const hasScope = (key: DeviceKey) => !key.scope || [...key.scope].sort().join() === [...scope].sort().join();

  return {
    async login(exchange) {
      const { isFirst, signal } = exchange;
      const id = keptAs(exchange);
      let refusal: unknown;
      // Another scope takes a prompt, so it waits until somebody asks for a login.
      const isGood = (key: DeviceKey) => !isExpired(key) && (hasScope(key) || !isFirst);
      const loginBy = async (key: DeviceKey): Promise<boolean> => {
        refusal = await loginByDevice(exchange, key);
        if (refusal) return false;
        const onEnd = async () => {
          if (!KEY_IS_OVER.test((signal.reason as Error).message)) return;
          if ((await store.get(id))?.pubkey === key.pubkey) await store.delete(id);
        };
        signal.addEventListener("abort", () => void onEnd().catch(() => {}), { once: true });
        return true;
      };
      const first = await store.get(id);
      if (first && isGood(first) && (await loginBy(first))) return;

      await alone(id, signal, async () => {
        // Another tab may have made one while this one waited.
        const newest = await store.get(id);
        const isTried = newest?.pubkey === first?.pubkey;
        if (newest && isGood(newest)) {
          if (!isTried && (await loginBy(newest))) return;
          await store.delete(id).catch(() => {});
        }
        if (refusal || !isFirst) {
          const cause = refusal ?? refusals.get(id);
          throw new LoginNeededError("this device has no key that is good any more: log in again", { cause });
        }

        // Without WebCrypto, this fails before the wallet is asked.
        const key = await createDeviceKey();
        await options.inner.login(exchange);
        if (newest) await exchange.call("remove_device_key", { pubkey: newest.pubkey }).catch(() => {});
        const added = await addDeviceKey(exchange, key, { ...options, scope }).catch((error) => {
          if (!HAS_NO_KEYS.has(error.code)) throw error;
          refusals.set(id, error);
        });
        // Otherwise, the login stays the one of the inner signer.
        if (!added) return;
        await store.set(id, added);
        await loginBy(added);
      });
    },

    async has(url, origin) {
      const key = await store.get(keptAs(parseAddress(url, origin)));
      return key !== undefined && !isExpired(key) && hasScope(key);
    },
    forget: (url, origin) => store.delete(keptAs(parseAddress(url, origin))),
  };
}

function keptAs({ origin, circle }: Pick<LoginExchange, "origin" | "circle">): string {
  return `${origin}/${circle}`;
}

function isExpired({ expires_at }: DeviceKey): boolean {
  return expires_at !== undefined && Date.parse(expires_at) <= Date.now();
}

/** Logs in by a device key. Returns the server's error if it doesn't know the key any more. */
async function loginByDevice(exchange: LoginExchange, key: DeviceKey): Promise<unknown> {
  try {
    const text = await exchange.fetchNonce({ pubkey: key.pubkey, scheme: "es256" });
    checkLoginText(text, { origin: exchange.origin, circle: exchange.circle, key: key.pubkey });
    const signature = await signText(key.privateKey, text);
    await exchange.authenticate({ pubkey: key.pubkey, scheme: "es256", signature });
    return undefined;
  } catch (error) {
    const { code, data } = error as { code?: unknown; data?: { reason?: unknown } };
    if (code === -32002 && data?.reason === "unknown_device") return error;
    throw error;
  }
}

/** Has the server add a new device key for the caller who has just logged in. Returns it as it is to be kept. */
async function addDeviceKey(
  exchange: LoginExchange,
  key: DeviceKey,
  { scope, label, ttl = 30 * DAY }: DeviceOptions & { readonly scope: readonly string[] },
): Promise<DeviceKey> {
  const { pubkey: caller } = await exchange.call<{ pubkey: string }>("whoami");
  if (!/^0[23][0-9a-f]{64}$/.test(caller)) {
    throw new LoginTextError(`the device key was not added: ${JSON.stringify(caller)} is not the key of a caller`);
  }
  const expires_at = new Date(Date.now() + ttl).toISOString().replace(/\.\d+Z$/, "Z");
  const lines = [
    "circled device v1",
    `circle: ${exchange.circle}`,
    `caller: ${caller}`,
    `key: ${key.pubkey}`,
    `scope: ${scope.join(",")}`,
    `expires: ${expires_at}`,
  ];
  const proof = await signText(key.privateKey, lines.join("\n"));
  const name = label ?? (globalThis.location?.host.slice(0, 64) || "circled client");
  await exchange.call("add_device_key", { pubkey: key.pubkey, label: name, expires_at, scope, proof });
  return { ...key, scope: [...scope], expires_at };
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
