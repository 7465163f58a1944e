/** What the login page and the account do: log in, log in again, unlock, log out. */

import { keySigner, type SecretKey } from "@circled/client/keys";
import { openCircle, openLogin } from "../router.js";
import { circleUrl, closeSession, type LoginKind, openSession, session } from "../session.js";
import { toastError } from "../ui/toast.js";
import { type BrowserSigner, browserSigner, type Prompting } from "./browser-signer.js";
import { circles, markOut, rememberCircle, type UsedCircle } from "./circles.js";
import { findKey, forgetKey, keepKey, keptKeys } from "./key-store.js";

/** How the session was opened, to open it again. */
let last: { pk: string; open(): Promise<void>; unlock?: () => Promise<void>; signer?: BrowserSigner } | undefined;

async function open(pk: string, signer: Parameters<typeof openSession>[1], login: LoginKind, wallet?: string) {
  const { me } = await openSession(pk, signer, login);
  rememberCircle({ pk, login, caller: me.pubkey ?? "", wallet });
}

/** Logs in by a key. `keep`: this browser keeps it. Returns whether it does. */
export async function logInByKey(pk: string, key: SecretKey, keep: boolean): Promise<boolean> {
  const wasKept = keptKeys.peek().includes(key.pubkey);
  // A private window may keep nothing: then the key is for this visit.
  const isKept = keep && (await keepKey(key).then(() => true, toastError)) === true;
  const again = () => open(pk, keySigner(key), isKept || wasKept ? "kept" : "file");
  try {
    await again();
  } catch (error) {
    if (isKept && !wasKept) await forgetKey(key.pubkey);
    throw error;
  }
  last = { pk, open: again };
  openCircle(pk);
  return isKept || wasKept;
}

/** Logs in by a key that this browser keeps. */
export async function logInByKeptKey(pk: string, pubkey: string): Promise<void> {
  const key = await findKey(pubkey);
  if (!key) throw new Error("this browser doesn't keep that key any more: choose its file");
  const again = () => open(pk, keySigner(key), "kept");
  await again();
  last = { pk, open: again };
}

/** Logs in by a wallet or a Nostr signer. `ask`: with a prompt; else by the device key. */
export async function logInByPrompt(pk: string, prompting: Prompting, ask: boolean): Promise<void> {
  const caller = circles.peek().find((one) => one.pk === pk)?.caller;
  const signer = browserSigner(circleUrl(pk), prompting, caller);
  const wallet = prompting.kind === "wallet" ? prompting.rdns : undefined;
  const again = () => open(pk, signer, prompting.kind, wallet);
  const withPrompt = () => {
    signer.askNext();
    return again();
  };
  await (ask ? withPrompt() : again());
  last = { pk, open: withPrompt, unlock: withPrompt, signer };
}

/** Returns what prompts in a circle that was used before. */
function promptingOf({ login, wallet }: UsedCircle): Prompting {
  return login === "nostr" ? { kind: "nostr" } : { kind: "wallet", rdns: wallet };
}

/** Logs in to a circle as the last time, if that takes no prompt. Returns false if it isn't possible. */
export async function resume(pk: string): Promise<boolean> {
  const used = circles.peek().find((one) => one.pk === pk && !one.out);
  if (!used) return false;
  if (used.login === "kept") {
    if (!(await findKey(used.caller))) return false;
    await logInByKeptKey(pk, used.caller);
    return true;
  }
  if (used.login === "file") return false;
  const prompting = promptingOf(used);
  if (!(await browserSigner(circleUrl(pk), prompting).has())) return false;
  await logInByPrompt(pk, prompting, false);
  return true;
}

/** Logs in to a circle that was used before, with a prompt if there must be one. */
export async function logInAgain(used: UsedCircle): Promise<void> {
  if (used.login === "kept") await logInByKeptKey(used.pk, used.caller);
  else if (used.login === "file") throw new Error("choose the key file again: this browser doesn't keep that key");
  else {
    const prompting = promptingOf(used);
    const has = await browserSigner(circleUrl(used.pk), prompting).has();
    await logInByPrompt(used.pk, prompting, !has);
  }
  openCircle(used.pk);
}

/** Opens the session that has ended once more. */
export async function reopen(): Promise<void> {
  await last?.open();
}

/** Asks the wallet, so that the session is the caller's own, and may manage. */
export async function unlock(): Promise<void> {
  await last?.unlock?.();
}

/** Returns the public key of this browser's device key for the open circle, if it has one. */
export function thisDevice(): string | undefined {
  return session.peek()?.me.device ?? last?.signer?.device();
}

/** Logs out. A device key of this browser is removed at the server, too. A key that is kept stays, until it is forgotten. */
export async function logOut(): Promise<void> {
  const now = session.peek();
  if (!now) return;
  if (last?.signer) {
    const pubkey = thisDevice();
    if (pubkey) await now.circle.removeDeviceKey({ pubkey }, { timeout: 3000 }).catch(() => {});
    await last.signer.forget().catch(() => {});
  }
  markOut(now.pk);
  last = undefined;
  openLogin();
  closeSession();
}
