/** The address of a circle: which server it is on, and which circle it is. */

/** What a URL like `wss://circles.example.org/02...` says. */
export interface Address {
  /** The URL to dial. */
  readonly url: string;
  /** The server's origin, normalized: lowercase, without the scheme's default port. */
  readonly origin: string;
  /** The circle's public key, 66 lowercase hex digits. */
  readonly circle: string;
}

const ORIGIN = /^wss?:\/\/[^/?#@\\\s]+\/?$/i;
const KEY = /^(0x)?(0[23][0-9a-f]{64}|04[0-9a-f]{128})$/i;

/** Returns the normalized origin of a server, or undefined if the text is none. */
export function parseOrigin(text: string): string | undefined {
  if (!ORIGIN.test(text)) return undefined;
  try {
    const { protocol, host } = new URL(text);
    return `${protocol}//${host}`;
  } catch {
    return undefined;
  }
}

/** Returns the 66 lowercase hex digits of a secp256k1 public key in any of its forms, or undefined if it has none of them. */
export function parseKey(text: string): string | undefined {
  if (!KEY.test(text)) return undefined;
  const hex = text.toLowerCase().replace(/^0x/, "");
  if (hex.length === 66) return hex;
  return (/[13579bdf]$/.test(hex) ? "03" : "02") + hex.slice(2, 66);
}

/**
 * Parses the URL of a circle. `origin` is the server's own one, if it is dialled by another name.
 *
 * Throws a `TypeError` if the URL isn't `ws://` or `wss://`, or doesn't end in a circle's public key.
 */
export function parseAddress(url: string | URL, origin?: string): Address {
  const text = String(url);
  let parsed: URL | undefined;
  try {
    parsed = new URL(text);
  } catch {}
  const dialled = parsed && !parsed.username && !parsed.password && parseOrigin(`${parsed.protocol}//${parsed.host}`);
  const circle = parsed && parseKey(parsed.pathname.replace(/.*\//, ""));
  if (!dialled || !circle) {
    throw new TypeError(`"${text}" is not the address of a circle: expected wss://host/<public key>`);
  }
  const own = origin === undefined ? dialled : parseOrigin(origin);
  if (!own) throw new TypeError(`"${origin}" is not the origin of a server: expected wss://host`);
  return { url: text, origin: own, circle };
}
