/**
 * Local secp256k1 keys, for programs and for apps that keep a key of their own: `@circled/client/keys`. How a key is kept,
 * and by what it is encrypted, is the app's part.
 */

import { keccak_256 } from "@noble/hashes/sha3.js";
import { etc, getPublicKey, schnorr, signAsync, utils } from "@noble/secp256k1";
import { checkLoginText, type Signer } from "./signer.js";

/** How a key signs: as Ethereum wallets do, ECDSA over SHA-256, or BIP-340. The caller is the same key in all of them. */
export type KeyScheme = "eip191" | "sha256" | "schnorr";

/** A secret key. It doesn't print itself. */
export class SecretKey {
  /** The public key, compressed: 66 lowercase hex digits. */
  readonly pubkey: string;
  readonly #secret: Uint8Array;

  private constructor(secret: Uint8Array) {
    this.#secret = secret;
    this.pubkey = etc.bytesToHex(getPublicKey(secret));
  }

  /** Makes a new key. */
  static generate(): SecretKey {
    return new SecretKey(utils.randomSecretKey());
  }

  /** Reads a key from 64 hex digits, with or without `0x`, as `circled keygen` writes them. */
  static fromHex(hex: string): SecretKey {
    const digits = hex.trim().replace(/^0x/i, "");
    // The message has no part of the key.
    if (!/^[0-9a-f]{64}$/i.test(digits)) throw new TypeError("a secret key has 64 hex digits");
    const secret = etc.hexToBytes(digits);
    if (!utils.isValidSecretKey(secret)) throw new TypeError("this number is no secp256k1 secret key");
    return new SecretKey(secret);
  }

  /** Returns the secret, as 64 hex digits, for whoever keeps it. */
  revealHex(): string {
    return etc.bytesToHex(this.#secret);
  }

  /** Signs a text: 64 bytes in hex. */
  async sign(text: string, scheme: KeyScheme = "sha256"): Promise<string> {
    const bytes = new TextEncoder().encode(text);
    switch (scheme) {
      case "eip191": {
        const prefix = new TextEncoder().encode(`\x19Ethereum Signed Message:\n${bytes.length}`);
        const digest = keccak_256(etc.concatBytes(prefix, bytes));
        return etc.bytesToHex(await signAsync(digest, this.#secret, { prehash: false }));
      }
      case "sha256":
        return etc.bytesToHex(await signAsync(bytes, this.#secret));
      case "schnorr":
        return etc.bytesToHex(await schnorr.signAsync(await sha256(bytes), this.#secret));
    }
  }
}

/** Logs in by a local key. */
export function keySigner(key: SecretKey, options: { readonly scheme?: KeyScheme } = {}): Signer {
  const scheme = options.scheme ?? "sha256";
  return {
    async login(exchange) {
      const text = await exchange.fetchNonce({ pubkey: key.pubkey });
      checkLoginText(text, { origin: exchange.origin, circle: exchange.circle, key: key.pubkey });
      await exchange.authenticate({ pubkey: key.pubkey, scheme, signature: await key.sign(text, scheme) });
    },
  };
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
