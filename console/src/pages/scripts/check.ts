/** The check of a source while somebody types: if it compiles, and else where its fault is. */

import { type Circle, ExecutionError } from "@circled/client";
import { signal } from "@preact/signals";
import type { Mark } from "../../editor/main.js";

/** How long to wait for the next key before a text is checked, in milliseconds. */
const PAUSE = 300;

/** The result of a check. `none`: there is no result, because there is none, or this caller may not have it checked. */
export type CheckState = "none" | "checking" | "good" | "bad" | "failed";

export class Check {
  readonly #circle: Circle;
  readonly #isPermitted: boolean;
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #source: string | undefined;

  readonly state = signal<CheckState>("none");
  readonly mark = signal<Mark | undefined>(undefined);

  constructor(circle: Circle, isPermitted: boolean) {
    this.#circle = circle;
    this.#isPermitted = isPermitted;
  }

  /** Has a source checked, if it is another one than before: once nothing has been typed for a while, or at once. */
  check(source: string, isTyped: boolean): void {
    if (source === this.#source && this.state.peek() !== "failed") return;
    this.#source = source;
    this.close();
    this.mark.value = undefined;
    const isChecked = this.#isPermitted && source.trim() !== "";
    this.state.value = isChecked ? "checking" : "none";
    if (isChecked) this.#timer = setTimeout(() => void this.#ask(source), isTyped ? PAUSE : 0);
  }

  /** Shows the fault that an error tells of. */
  onFault(error: ErrorAtPlace): void {
    this.state.value = "bad";
    this.mark.value = markOf(error);
  }

  /** Ends what is under way. */
  close(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  async #ask(source: string): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      await this.#circle.checkScript({ source }, { signal: abort.signal });
      if (!abort.signal.aborted) this.state.value = "good";
    } catch (error) {
      if (abort.signal.aborted) return;
      if (error instanceof ExecutionError) this.onFault(error);
      else this.state.value = "failed";
    }
  }
}

/** An error of a script, which may say where. */
interface ErrorAtPlace {
  readonly message: string;
  readonly data: { readonly line?: number; readonly column?: number } | null;
}

/** Returns where a script has failed, and why. */
export function markOf({ message, data }: ErrorAtPlace): Mark {
  const text = message.replace(/^Execution Error: /, "").replace(/ \(-32000\)$/, "");
  return { line: data?.line ?? 1, column: data?.column, message: text };
}
