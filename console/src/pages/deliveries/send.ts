/** Signs a webhook as a provider does, and sends it to the circle. */

import { parseJson } from "../../ui/json.js";
import type { Preset, Signed } from "./presets.js";

/** Returns a new id for an event. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The answer to a webhook. */
export interface Answer {
  readonly status: number;
  /** Of an accepted one. */
  readonly jobId?: string | undefined;
  readonly outcome?: string | undefined;
  /** Of a refused one. */
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly text: string;
  /** By how many seconds the server's clock is ahead of this device's, if it has told. */
  readonly ahead?: number | undefined;
}

/** Returns the key in a secret, as the server reads it. */
function keyOf(secret: string, { key }: Preset): Uint8Array<ArrayBuffer> {
  const text = secret.trim();
  if (key === "text") return new TextEncoder().encode(text);
  try {
    return Uint8Array.from(atob(text.replace(/^whsec_/, "")), (character) => character.charCodeAt(0));
  } catch {
    throw new Error("This secret is “whsec_” and a key in base64");
  }
}

/** Returns the headers that a provider would send. */
export async function sign(preset: Preset, secret: string, signed: Signed): Promise<Record<string, string>> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", keyOf(secret, preset), algorithm, false, ["sign"]);
  const hmac = async (text: string) =>
    new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(text)));
  return await preset.headers(signed, hmac);
}

/** Sends a signed body. */
export async function send(url: string, body: string, headers: Record<string, string>): Promise<Answer> {
  const response = await fetch(url, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body,
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
  });
  const text = await response.text();
  const date = Date.parse(response.headers.get("date") ?? "");
  const ahead = Number.isNaN(date) ? undefined : Math.round((date - Date.now()) / 1000);
  // biome-ignore lint/suspicious/noExplicitAny: it is looked at member by member
  const json: any = parseJson(text);
  const { job_id, status, error } = json instanceof Error ? {} : (json ?? {});
  return {
    status: response.status,
    jobId: job_id,
    outcome: status,
    code: error?.code,
    message: error?.message,
    text,
    ahead,
  };
}
