import { CopyButton } from "./copy.js";

/** Returns the short form of a public key: the first and the last digits. */
export function shortKey(pubkey: string): string {
  return pubkey.length > 16 ? `${pubkey.slice(0, 8)}…${pubkey.slice(-6)}` : pubkey;
}

/** A public key: its short form, in full as the title, and a button that copies it. */
export function Key({ pubkey, copy = true }: { pubkey: string; copy?: boolean }) {
  return (
    <span class="key">
      <code title={pubkey}>{shortKey(pubkey)}</code>
      {copy && <CopyButton text={pubkey} label="Copy the key" />}
    </span>
  );
}
