/** Errors in plain words. */

import { RefusedError, RpcError } from "@circled/client";
import { visible } from "./text.js";

export interface Explanation {
  readonly title: string;
  readonly detail?: string | undefined;
}

const TITLES: Record<number, string> = {
  [-32000]: "The script failed",
  [-32001]: "A login is needed",
  [-32002]: "The login was refused",
  [-32003]: "You may not do that here",
  [-32004]: "It took too long",
  [-32005]: "A limit is reached",
  [-32006]: "Not found",
  [-32007]: "The server can't do that now",
  [-32008]: "It was cancelled",
  [-32009]: "Somebody else has changed it meanwhile",
  [-32600]: "The request is not valid",
  [-32601]: "The server doesn't know this method",
  [-32602]: "The parameters don't fit",
  [-32603]: "The server has failed",
};

/** Returns what an error says, for people. */
export function explain(error: unknown): Explanation {
  if (error instanceof RpcError) {
    const { needs, limit, what, reason, line, column, kind, scope } = error.data ?? {};
    const place = line ? `line ${line}${column ? `, column ${column}` : ""}` : undefined;
    const facts = [
      kind && kind !== "runtime" ? `kind: ${kind}` : undefined,
      place,
      needs && `it needs: ${needs}`,
      scope && `the device key lacks: ${scope}`,
      limit && `limit: ${limit}`,
      what && `missing: ${what}`,
      reason && `reason: ${reason}`,
      error.retryAfter > 0 ? `try again in ${Math.ceil(error.retryAfter / 1000)} s` : undefined,
    ].filter(Boolean);
    const message = error.message.replace(/^Execution Error: /, "").replace(/ \(-\d+\)$/, "");
    const text = [message, ...facts].filter((part) => part && part !== TITLES[error.code]).join(" · ");
    return { title: TITLES[error.code] ?? `Error ${error.code}`, detail: visible(text, true) };
  }
  if (error instanceof RefusedError) {
    if (error.status === 404) {
      return { title: "There is no such circle here", detail: "This server doesn't serve it. Check the circle's key." };
    }
    if (error.status !== 403)
      return { title: "The server refuses the connection", detail: visible(error.message, true) };
    return {
      title: "The server refuses this page",
      detail: "Its setting server.allowed_origins has to list this page's origin.",
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  const device = /\(1008: device key (removed|expired)\)$/.exec(message);
  if (device) return { title: `This browser's device key ${device[1] === "removed" ? "was removed" : "has expired"}` };
  return { title: visible(message.charAt(0).toUpperCase() + message.slice(1), true) };
}
