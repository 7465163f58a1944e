export { type DeviceAddress, type DeviceOptions, deviceSigner } from "./device.js";
export { type DeviceKey, type DeviceKeyStore, indexedDbStore, memoryStore } from "./device-store.js";
export { type NostrProvider, nostrSigner } from "./nostr.js";
export { ServerProofError } from "./prove.js";
export type { AuthenticateParams, FetchNonceParams, LoginExchange, Signer } from "./signer.js";
export { checkLoginText, LoginTextError } from "./signer.js";
export { checkSiweMessage, type EthereumProvider, type Wallet, walletSigner, wallets } from "./siwe.js";
