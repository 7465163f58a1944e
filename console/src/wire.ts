/** The frames of the session's WebSocket, for those who want to see them. */

/** Called with each frame's text. */
export type WireListener = (way: "sent" | "received", text: string) => void;

const listeners = new Set<WireListener>();

function tell(way: "sent" | "received", text: unknown): void {
  if (typeof text === "string") for (const listener of [...listeners]) listener(way, text);
}

/** Calls a listener with all frames of all sockets from now on. Returns what ends that. */
export function listenToWire(listener: WireListener): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** A WebSocket that tells its frames. */
export class WireSocket extends WebSocket {
  constructor(url: string) {
    super(url);
    // Before those who set `onmessage`.
    this.addEventListener("message", ({ data }) => tell("received", data));
  }

  override send(data: Parameters<WebSocket["send"]>[0]): void {
    super.send(data);
    tell("sent", data);
  }
}
