/**
 * The extensions of a test's browser: a wallet that announces itself as EIP-6963 says, made of viem, and a Nostr signer as
 * `window.nostr` (NIP-07), made of nostr-tools. Runs in the page, before its own scripts.
 */

import { finalizeEvent, getPublicKey } from "nostr-tools/pure";
import { hexToBytes, hexToString } from "viem";
import { privateKeyToAccount } from "viem/accounts";

/** Put in by esbuild. */
declare const SECRET_KEY: `0x${string}`;
/** Tells the test that a person would see a prompt now. */
declare function showPrompt(text: string): Promise<void>;

const account = privateKeyToAccount(SECRET_KEY);

const provider = {
  async request({ method, params }: { method: string; params?: unknown[] }): Promise<unknown> {
    switch (method) {
      case "eth_requestAccounts":
      case "eth_accounts":
        return [account.address.toLowerCase()];
      case "eth_chainId":
        return "0x1";
      case "personal_sign": {
        const message = hexToString(params?.[0] as `0x${string}`);
        await showPrompt(message);
        return await account.signMessage({ message });
      }
      default:
        throw Object.assign(new Error(`${method} is not supported`), { code: 4200 });
    }
  },
};

const info = { uuid: crypto.randomUUID?.() ?? "1", name: "MetaMask", icon: "data:image/svg+xml,", rdns: "io.metamask" };
const announce = (): void => {
  dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
};
addEventListener("eip6963:requestProvider", announce);
announce();

const secret = hexToBytes(SECRET_KEY);
Object.assign(globalThis, {
  nostr: {
    getPublicKey: async () => getPublicKey(secret),
    async signEvent(event: Parameters<typeof finalizeEvent>[0]) {
      await showPrompt(JSON.stringify(event));
      return finalizeEvent(event, secret);
    },
  },
});
