export type { AuthenticateParams, FetchNonceParams, LoginExchange, Signer } from "./signer.js";
export { checkLoginText, LoginTextError } from "./signer.js";
