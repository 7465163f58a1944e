/** The session: a circle that is connected to, and what its caller may do. */

import { type Circle, type Connection, connect, type Methods, type Signer } from "@circled/client";
import { type ReadonlySignal, signal } from "@preact/signals";
import type { BrowserSigner } from "./login/browser-signer.js";
import { SupersededError } from "./superseded.js";
import { WireSocket } from "./wire.js";

export { listenToWire } from "./wire.js";

/** How the caller has logged in. `kept`: by a key that this browser keeps; `file`: by a key that this page has in memory. */
export type LoginKind = "kept" | "file" | "wallet" | "nostr";
/** A right of a session. */
export type Permission = "play" | "call" | "subscribe" | "manage" | "owner";
export type WhoamiResult = Methods["whoami"]["result"];

/** A circle that is connected to. A new object replaces it when the caller's rights are other ones. */
export interface Session {
  readonly circle: Circle;
  /** The circle's public key: 66 lowercase hex digits. */
  readonly pk: string;
  /** The caller: role, key, device key. */
  readonly me: WhoamiResult;
  readonly login: LoginKind;
  /** How the connection is, and why it is waiting or closed. */
  readonly connection: ReadonlySignal<Connection>;
  /** The phase alone. */
  readonly phase: ReadonlySignal<Connection["phase"]>;
  readonly wsUrl: string;
  readonly ways: Ways;
  /** Returns the address to which a provider sends its webhooks. */
  webhooksUrl(provider: string): string;
}

/** How the session was opened, to open it once more. */
export interface Ways {
  /** Opens it once more; asks the wallet, if there must be a prompt. */
  again(): Promise<void>;
  /** Asks the wallet, so that the session is the caller's own, and may manage. */
  readonly unlock?: (() => Promise<void>) | undefined;
  /** What has logged in by a device key of this browser. */
  readonly signer?: BrowserSigner | undefined;
}

const current = signal<Session | undefined>(undefined);
/** The session that there is, or was until it has ended (`phase` is `closed` then). */
export const session: ReadonlySignal<Session | undefined> = current;

/** Returns the address of the server's files, above `/console/`: `https://host/prefix/`. */
function base(): URL {
  return new URL("../", new URL("./", location.href.replace(/[?#].*/s, "")));
}

/** Returns the address of a circle on this server. */
export function circleUrl(pk: string): string {
  const url = new URL(pk, base());
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** The circle that is being opened, and what gives that up. */
let opening: { readonly pk: string; readonly login: LoginKind; readonly abort: AbortController } | undefined;

/** Gives up what is being opened, unless it is this circle. */
export function cancelOpening(except?: string): void {
  if (!opening || opening.pk === except) return;
  opening.abort.abort(new SupersededError("another login has begun"));
  opening = undefined;
}

/** Gives up what is being opened by such a login: in this circle, or in any. */
export function cancelOpeningBy(login: LoginKind, pk?: string): void {
  if (opening?.login === login && (!pk || opening.pk === pk)) cancelOpening();
}

/**
 * Connects to a circle, and makes it the session. The one before is closed once that has succeeded. Fails with a
 * `SupersededError` if another one is opened meanwhile, or the user logs out.
 */
export async function openSession(pk: string, signer: Signer, login: LoginKind, ways: Ways): Promise<Session> {
  cancelOpening();
  const abort = new AbortController();
  const own = { pk, login, abort };
  opening = own;
  const wsUrl = circleUrl(pk);
  const { signal: isOver } = abort;
  const circle = await connect({ url: wsUrl, signer, timeout: 10_000, WebSocket: WireSocket, signal: isOver });
  let me: WhoamiResult;
  try {
    me = await circle.whoami();
    isOver.throwIfAborted();
  } catch (error) {
    circle.close();
    throw error;
  } finally {
    if (opening === own) opening = undefined;
  }
  const connection = signal(circle.getSnapshot());
  const phase = signal(connection.value.phase);
  const opened: Session = {
    circle,
    pk,
    me,
    login,
    connection,
    phase,
    wsUrl,
    ways,
    webhooksUrl: (provider) => new URL(`webhooks/${encodeURIComponent(provider)}/${pk}`, base()).href,
  };
  const previous = current.peek();
  current.value = opened;
  previous?.circle.close();
  circle.subscribe((now) => {
    const isBack = now.phase === "ready" && phase.peek() !== "ready";
    connection.value = now;
    phase.value = now.phase;
    if (isBack) void refreshRights(circle);
  });
  return opened;
}

// Somebody may have changed the role meanwhile.
addEventListener("visibilitychange", () => {
  const circle = current.peek()?.circle;
  if (circle && document.visibilityState === "visible") void refreshRights(circle);
});

/** Asks anew what the caller may do: after a reconnect, it may be the device key that has logged in. */
export async function refreshRights(circle: Circle): Promise<void> {
  const me: WhoamiResult | undefined = await circle.whoami().catch(() => undefined);
  const now = current.peek();
  if (!me || now?.circle !== circle) return;
  const rights = (one: WhoamiResult) => [one.role, one.device, ...(one.permissions ?? [])].join();
  if (rights(me) !== rights(now.me)) current.value = { ...now, me };
}

/** Closes the session. */
export function closeSession(): void {
  cancelOpening();
  current.peek()?.circle.close();
  current.value = undefined;
}

const ROLES: Record<string, readonly Permission[]> = {
  owner: ["play", "call", "subscribe", "manage", "owner"],
  member: ["play", "call", "subscribe"],
};

/** The answer to `may`. `canUnlock`: the caller may, but not by the device key. */
export type Answer = { readonly ok: true } | { readonly ok: false; readonly why: string; readonly canUnlock?: boolean };

/** Says if the caller may, and if not, why: for a disabled button's title and description. */
export function may({ me, login }: Session, what: Permission): Answer {
  const own = me.permissions ?? ROLES[me.role ?? ""] ?? [];
  const isOwner = me.role === "owner" && !me.device;
  const isPermitted = what === "owner" ? isOwner : own.includes(what) && !(what === "manage" && me.device);
  if (isPermitted) return { ok: true };
  if (me.device && (me.role === "owner" || (what === "manage" && me.role === "member"))) {
    const signer = login === "nostr" ? "Nostr signer" : "wallet";
    return { ok: false, why: `This browser's device key can't manage: unlock with your ${signer}`, canUnlock: true };
  }
  const who = me.role ? `You are ${me.role === "owner" ? "the owner" : `a ${me.role}`} here` : "You have no role here";
  if (what === "owner") return { ok: false, why: `${who}: this is for the owner alone` };
  return { ok: false, why: `${who}: the circle's rule “${what}” doesn't permit this` };
}

/** Returns why the caller may not, as the `why` of a button; nothing, if they may. */
export function whyNot(session: Session, what: Permission): string | undefined {
  const answer = may(session, what);
  return answer.ok ? undefined : answer.why;
}
