/** What the login page and the account do: log in, log in again, unlock, log out. */

import type { Signer } from "@circled/client";
import { keySigner, type SecretKey } from "@circled/client/keys";
import { openCircle } from "../router.js";
import { cancelOpening, circleUrl, type LoginKind, openSession, session, type Ways } from "../session.js";
import { toast } from "../ui/toast.js";
import { browserSigner, type Prompting } from "./browser-signer.js";
import { circles, markForgotten, markOut, rememberCircle, type UsedCircle } from "./circles.js";
import { findKey, forgetKey, keepKey, keptKeys } from "./key-store.js";
import { endSessions } from "./tabs.js";

/** Opens a session, and remembers the circle. */
async function open(pk: string, signer: Signer, login: LoginKind, ways?: Omit<Ways, "again">, wallet?: string) {
  const again = () => open(pk, signer, login, ways, wallet);
  const { me } = await openSession(pk, signer, login, { again: ways?.unlock ?? again, ...ways });
  rememberCircle({ pk, login, caller: me.pubkey ?? "", wallet });
}

/** Logs in by a key. `keep`: this browser keeps it. Returns whether it does. */
export async function logInByKey(pk: string, key: SecretKey, keep: boolean): Promise<boolean> {
  const wasKept = keptKeys.peek().includes(key.pubkey);
  const isKept = wasKept || (keep && (await tryToKeep(key)));
  try {
    await open(pk, keySigner(key), isKept ? "kept" : "file");
  } catch (error) {
    if (isKept && !wasKept) await forgetKey(key.pubkey);
    throw error;
  }
  openCircle(pk);
  return isKept;
}

/** Keeps a key in this browser. A private window may keep nothing: then the key is for this visit. */
async function tryToKeep(key: SecretKey): Promise<boolean> {
  try {
    await keepKey(key);
    return true;
  } catch {
    toast("This browser doesn't keep the key: you need its file the next time", "error");
    return false;
  }
}

/** Logs in by a key that this browser keeps. */
export async function logInByKeptKey(pk: string, pubkey: string): Promise<void> {
  const key = await findKey(pubkey);
  if (!key) throw new Error("this browser doesn't keep that key any more: choose its file");
  await open(pk, keySigner(key), "kept");
}

/** Logs in by a wallet or a Nostr signer. `ask`: with a prompt; else by the device key. */
export async function logInByPrompt(pk: string, prompting: Prompting, ask: boolean): Promise<void> {
  const caller = circles.peek().find((one) => one.pk === pk)?.caller;
  const signer = browserSigner(circleUrl(pk), prompting, caller);
  const wallet = prompting.kind === "wallet" ? prompting.rdns : undefined;
  const unlock = () => {
    signer.askNext();
    return open(pk, signer, prompting.kind, ways, wallet);
  };
  const ways = { unlock, signer };
  await (ask ? unlock() : open(pk, signer, prompting.kind, ways, wallet));
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
  await session.peek()?.ways.again();
}

/** Asks the wallet, so that the session is the caller's own, and may manage. */
export async function unlock(): Promise<void> {
  await session.peek()?.ways.unlock?.();
}

/** Returns the public key of this browser's device key for the open circle, if it has one. */
export function thisDevice(): string | undefined {
  const now = session.peek();
  return now?.me.device ?? now?.ways.signer?.device();
}

/** Logs out, in all tabs. A device key of this browser is removed at the server, too. A key that is kept stays, until it is forgotten. */
export async function logOut(): Promise<void> {
  cancelOpening();
  const now = session.peek();
  if (!now) return;
  const { signer } = now.ways;
  if (signer) {
    const pubkey = thisDevice();
    if (pubkey) await now.circle.removeDeviceKey({ pubkey }, { timeout: 3000 }).catch(() => {});
    await signer.forget().catch(() => {});
  }
  markOut(now.pk);
  endSessions({ login: now.login, caller: now.me.pubkey ?? "", circle: now.pk });
}

/** Forgets a key that this browser keeps, and logs out whoever has logged in by it. */
export async function forgetKeptKey(pubkey: string): Promise<void> {
  markForgotten(pubkey);
  await forgetKey(pubkey);
  endSessions({ login: "kept", caller: pubkey });
}
