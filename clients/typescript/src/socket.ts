/** One WebSocket, and why it could not be had. */

import { type CircleError, ClosedError, RefusedError } from "./errors.js";

/** The part of a WebSocket that is used here. That of browsers has it, that of Node 22, and that of the package `ws`. */
export interface SocketLike {
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

/** A class of WebSockets. */
export type SocketClass = new (url: string) => SocketLike;

/** What a socket tells. After `onEnd`, and after `drop`, it tells nothing more. */
export interface SocketListener {
  onOpen(): void;
  onText(text: string): void;
  onEnd(error: CircleError): void;
}

/** How long the server has to accept a connection, in milliseconds. */
const DIAL_TIMEOUT = 10_000;
/** The server's codes with which another attempt wouldn't help. */
const FINAL = /^(origin_not_allowed|unknown_circle|invalid_circle|not_found)$/;

/** A socket that is being opened or open. */
export interface Socket {
  readonly unsent: number;
  send(text: string): void;
  /** Gives it up. */
  drop(): void;
}

/** Opens a socket. */
export function dial(url: string, WebSocket: SocketClass, listener: SocketListener): Socket {
  let isOpen = false;
  let isOver = false;
  let status: string | undefined;
  const asking = new AbortController();
  const socket = new WebSocket(url);
  const drop = () => {
    isOver = true;
    clearTimeout(timer);
    asking.abort();
    const none = () => {};
    // The package `ws` throws an error that nobody listens for.
    Object.assign(socket, { onopen: none, onmessage: none, onerror: none, onclose: none });
    try {
      socket.close();
    } catch {}
  };
  const end = (error: CircleError) => {
    if (isOver) return;
    drop();
    listener.onEnd(error);
  };
  const timer = setTimeout(() => end(new ClosedError("the server took too long")), DIAL_TIMEOUT);
  socket.onopen = () => {
    clearTimeout(timer);
    isOpen = true;
    listener.onOpen();
  };
  socket.onmessage = (event: { data: unknown }) => {
    if (typeof event.data === "string") listener.onText(event.data);
  };
  socket.onerror = (event: { message?: string }) => {
    // Only the package `ws` tells the status.
    status = /response: (\d+)/.exec(String(event?.message))?.[1];
  };
  socket.onclose = async ({ code, reason }: { code: number; reason: string }) => {
    if (isOpen) return end(closed(code, reason));
    const lost = new ClosedError(`no connection to the server${status ? ` (${status})` : ""}`);
    end((await refusalOf(url, status, asking.signal)) ?? lost);
  };
  return {
    get unsent() {
      return socket.bufferedAmount;
    },
    send: (text) => socket.send(text),
    drop,
  };
}

function closed(code: number, reason: string): ClosedError {
  // 1005 and 1006: there was no close frame, or no code in it.
  if (code === 1005 || code === 1006) return new ClosedError("the connection was lost");
  return new ClosedError(`the server closed the connection (${code}${reason && `: ${reason}`})`, code);
}

/**
 * Asks with a plain GET why there is no connection, because a WebSocket of a browser doesn't tell. Only circled's own answer
 * counts: a 404 may also come from a proxy whose server is just being replaced. A page may read it, whatever its origin is.
 */
async function refusalOf(
  url: string,
  status: string | undefined,
  signal: AbortSignal,
): Promise<RefusedError | undefined> {
  try {
    const response = await fetch(url.replace(/^ws/i, "http"), { signal, cache: "no-store", credentials: "omit" });
    const { code, message } = (await response.json()).error;
    if (FINAL.test(code)) return new RefusedError(response.status, message);
    // A program that gives the package `ws` an `Origin`: this GET has none, and is not refused for it.
    if (status === "403" && code === "upgrade_required") return new RefusedError(403, "this Origin may not connect");
  } catch {}
  return undefined;
}
