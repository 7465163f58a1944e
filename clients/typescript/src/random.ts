/** Returns so many random bytes in hex. `crypto.randomUUID` is not there in pages of `http://`. */
export function randomHex(count: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(count));
  return Array.from(bytes, (byte) => (byte + 256).toString(16).slice(1)).join("");
}
