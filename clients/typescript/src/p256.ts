/** ECDSA over P-256 and SHA-256 by WebCrypto, in the forms that the server reads. */

import type { DeviceKey } from "./device-store.js";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** Makes a key whose private half can't be read by anybody. */
export async function createDeviceKey(): Promise<DeviceKey> {
  if (globalThis.crypto?.subtle === undefined) {
    throw new Error("device keys need WebCrypto, which browsers have on https:// pages and on localhost only");
  }
  const { privateKey, publicKey } = await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
  // 04, then x and y; compressed: how y ends, then x.
  const point = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  const sign = ((point[64] ?? 0) & 1) === 1 ? "03" : "02";
  return { pubkey: sign + toHex(point.slice(1, 33)), privateKey };
}

/** Signs a text: 64 bytes in hex, with a low S. */
export async function signText(key: CryptoKey, text: string): Promise<string> {
  const signature = new Uint8Array(await crypto.subtle.sign(ALGORITHM, key, new TextEncoder().encode(text)));
  const s = BigInt(`0x${toHex(signature.slice(32))}`);
  return toHex(signature.slice(0, 32)) + (s > ORDER / 2n ? ORDER - s : s).toString(16).padStart(64, "0");
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
