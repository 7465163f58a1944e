/**
 * Secret keys that this browser keeps: encrypted (AES-GCM) by a key that WebCrypto never gives out, both in IndexedDB. So nobody
 * reads them from a copy of the disk's files alone; a page of this origin can use them.
 */

import { SecretKey } from "@circled/client/keys";
import { signal } from "@preact/signals";
import { PLACE } from "../local.js";
import { download } from "../ui/download.js";

interface KeptKey {
  readonly pubkey: string;
  readonly wrapper: CryptoKey;
  readonly iv: Uint8Array<ArrayBuffer>;
  readonly secret: ArrayBuffer;
}

/** The public keys of those that are kept. Empty until they are read. */
export const keptKeys = signal<readonly string[]>([]);

async function access<T>(mode: IDBTransactionMode, work: (keys: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await new Promise<IDBDatabase>((resolve, reject) => {
    const opening = indexedDB.open(PLACE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("keys", { keyPath: "pubkey" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  try {
    const transaction = database.transaction("keys", mode, { durability: "strict" });
    const request = work(transaction.objectStore("keys"));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** Reads which keys there are. Where the browser keeps nothing, there are none. */
export async function readKeptKeys(): Promise<void> {
  const keys = await access("readonly", (all) => all.getAllKeys()).catch(() => []);
  keptKeys.value = keys.map(String);
}

/** Keeps a key in this browser. */
export async function keepKey(key: SecretKey): Promise<void> {
  if (!globalThis.crypto?.subtle)
    throw new Error("browsers keep keys on https:// and on localhost only: choose a file");
  const wrapper = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const text = new TextEncoder().encode(key.revealHex());
  const secret = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, wrapper, text);
  const kept: KeptKey = { pubkey: key.pubkey, wrapper, iv, secret };
  await access("readwrite", (all) => all.put(kept));
  await readKeptKeys();
}

/** Returns a kept key, if it is here. */
export async function findKey(pubkey: string): Promise<SecretKey | undefined> {
  const kept: KeptKey | undefined = await access("readonly", (all) => all.get(pubkey)).catch(() => undefined);
  if (!kept) return undefined;
  const text = await crypto.subtle.decrypt({ name: "AES-GCM", iv: kept.iv }, kept.wrapper, kept.secret);
  return SecretKey.fromHex(new TextDecoder().decode(text));
}

/** Forgets a key. */
export async function forgetKey(pubkey: string): Promise<void> {
  await access("readwrite", (all) => all.delete(pubkey));
  await readKeptKeys();
}

/** Has the browser save a key as a file, as `circled keygen` writes it. */
export function saveKeyFile(key: SecretKey, name = `${key.pubkey.slice(0, 10)}.key`): void {
  download(`${key.revealHex()}\n`, name, "application/octet-stream");
}
