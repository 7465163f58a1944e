/** Logins of Nostr signers, which sign events only: NIP-07 extensions sign an event of NIP-42. */

import { parseOrigin } from "./address.js";
import type { NostrEvent } from "./generated.js";
import { LoginTextError, type Signer } from "./signer.js";

/** An event that isn't signed yet. */
export interface NostrEventTemplate {
  kind: number;
  created_at: number;
  tags: string[][];
  content: string;
}

/** The part of NIP-07 that a login needs. `window.nostr` is one. */
export interface NostrProvider {
  getPublicKey(): Promise<string>;
  signEvent(event: NostrEventTemplate): Promise<NostrEvent>;
}

/** Logs in by a Nostr signer. The event names the server and the circle, so it is of no use to another one. */
export function nostrSigner(nostr: NostrProvider): Signer {
  return {
    async login(exchange) {
      const pubkey = await nostr.getPublicKey();
      const challenge = await exchange.fetchNonce({ pubkey, scheme: "nostr" });
      if (!/^[0-9a-f]{64}$/.test(challenge)) {
        throw new LoginTextError(`the challenge was not signed: ${JSON.stringify(challenge)} has not 64 hex digits`);
      }
      exchange.signal.throwIfAborted();
      const event = await nostr.signEvent({
        kind: 22242,
        created_at: Math.floor(Date.now() / 1000),
        tags: [
          ["relay", `${parseOrigin(exchange.origin)}/${exchange.circle}`],
          ["challenge", challenge],
        ],
        content: "",
      });
      await exchange.authenticate({ event });
    },
  };
}
