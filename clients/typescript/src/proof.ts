/**
 * The signatures of a server's proof. Loaded only if a server has one. The build puts the curve into this file, so that pages
 * without a bundler can load it.
 */

import { etc, verifyAsync } from "@noble/secp256k1";
import { parseOrigin } from "./address.js";

/** The answer to `prove`. */
export interface Proof {
  readonly grant: {
    readonly server: string;
    readonly origin: string;
    readonly expires: string;
    readonly signature: string;
  };
  readonly signature: string;
}

/**
 * Checks that the circle's owner has let the server's key speak for the circle at this origin, and that the server has this
 * key. Returns what is wrong, or nothing.
 */
export async function findFault(
  proof: Proof,
  expected: { readonly origin: string; readonly circle: string; readonly challenge: string; readonly now: number },
): Promise<string | undefined> {
  const { server, origin, expires, signature } = proof.grant;
  const { circle, challenge } = expected;
  const grant = `circled grant v1\ncircle: ${circle}\nserver: ${server}\norigin: ${origin}\nexpires: ${expires}`;
  if (!(await isSigned(grant, signature, circle))) return "its grant is not signed by the circle's key";
  if (parseOrigin(origin) !== parseOrigin(expected.origin)) {
    return `its grant is for ${origin}, but this connection is to ${expected.origin}`;
  }
  if (!(Date.parse(expires) > expected.now)) return `its grant has expired (${expires})`;
  const text = `circled proof v1\norigin: ${origin}\ncircle: ${circle}\nchallenge: ${challenge}`;
  if (!(await isSigned(text, proof.signature, server)))
    return "its proof is not signed by the key that the grant names";
  return undefined;
}

async function isSigned(text: string, signature: string, pubkey: string): Promise<boolean> {
  try {
    return await verifyAsync(etc.hexToBytes(signature), new TextEncoder().encode(text), etc.hexToBytes(pubkey));
  } catch {
    return false;
  }
}
