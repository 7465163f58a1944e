/** The signers of web pages (wallets, Nostr extensions, the keys of devices), and what a signer of your own checks. */

export { type DeviceOptions, type DeviceSigner, deviceSigner, LoginNeededError } from "./device.js";
export { type DeviceKey, type DeviceKeyStore, indexedDbStore, memoryStore } from "./device-store.js";
export { type NostrEventTemplate, type NostrProvider, nostrSigner } from "./nostr.js";
export { checkLoginText } from "./signer.js";
export { checkSiweMessage, type EthereumProvider, type Wallet, walletSigner, wallets } from "./siwe.js";
