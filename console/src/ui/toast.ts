/** Short messages that go away by themselves. */

import { signal } from "@preact/signals";
import { SupersededError } from "../superseded.js";
import { explain } from "./explain.js";

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: "info" | "error";
}

/** The messages that are shown now. */
export const toasts = signal<readonly Toast[]>([]);
let next = 1;

/** Shows a message for some seconds. */
export function toast(text: string, kind: Toast["kind"] = "info"): void {
  const id = next++;
  toasts.value = [...toasts.value.slice(-3), { id, text, kind }];
  setTimeout(() => dismiss(id), kind === "error" ? 10_000 : 4000);
}

/** Shows an error for some seconds. */
export function toastError(error: unknown): void {
  if (error instanceof SupersededError) return;
  const { title, detail } = explain(error);
  toast(detail ? `${title}: ${detail}` : title, "error");
}

/** Takes a message away. */
export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}
