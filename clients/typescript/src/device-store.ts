/** Where device keys are kept. */

/** A device key as it is kept. WebCrypto never gives out the private half, not even to this page. */
export interface DeviceKey {
  /** The P-256 public key, compressed: 66 lowercase hex digits. */
  readonly pubkey: string;
  readonly privateKey: CryptoKey;
  /** What it may do. Keys of before this was kept have none. */
  readonly scope?: readonly string[];
  /** When it expires, in RFC 3339. Keys of before this was kept have none. */
  readonly expires_at?: string;
}

/** Keeps device keys by an id, which names the server and the circle. */
export interface DeviceKeyStore {
  get(id: string): Promise<DeviceKey | undefined>;
  set(id: string, key: DeviceKey): Promise<void>;
  delete(id: string): Promise<void>;
}

/** Keeps device keys in IndexedDB, for all pages of this origin. */
export function indexedDbStore(name = "circled"): DeviceKeyStore {
  const keys = async <T>(mode: IDBTransactionMode, work: (keys: IDBObjectStore) => IDBRequest<T>): Promise<T> => {
    const database = await open(name);
    try {
      const transaction = database.transaction("device-keys", mode, { durability: "strict" });
      const request = work(transaction.objectStore("device-keys"));
      return await new Promise((resolve, reject) => {
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  };
  return {
    get: (id) => keys("readonly", (all) => all.get(id)),
    set: async (id, key) => void (await keys("readwrite", (all) => all.put(key, id))),
    delete: (id) => keys("readwrite", (all) => all.delete(id)),
  };
}

/** Keeps device keys in memory, for programs without IndexedDB: they last as long as the process. */
export function memoryStore(): DeviceKeyStore {
  const keys = new Map<string, DeviceKey>();
  return {
    get: async (id) => keys.get(id),
    set: async (id, key) => void keys.set(id, key),
    delete: async (id) => void keys.delete(id),
  };
}

/** Keeps device keys in a store, and those that it doesn't take (private windows, a full disk) in memory, for this page. */
export function orInMemory(store: DeviceKeyStore): DeviceKeyStore {
  /** What the store should have, and hasn't. */
  const own = new Map<string, DeviceKey | undefined>();
  const change = async (id: string, key: DeviceKey | undefined, work: () => Promise<void>): Promise<void> => {
    own.set(id, key);
    await work();
    own.delete(id);
  };
  return {
    get: async (id) => (own.has(id) ? own.get(id) : await store.get(id).catch(() => undefined)),
    set: (id, key) => change(id, key, () => store.set(id, key)).catch(() => {}),
    delete: (id) => change(id, undefined, () => store.delete(id)),
  };
}

function open(name: string): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("device-keys");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}
