/** A script that is open: what the circle has, the text in the editor, and what is wrong with it. */

import { type Circle, ConflictError, ExecutionError, NotFoundError, type Script } from "@circled/client";
import { computed, signal } from "@preact/signals";
import type { Mark } from "../../editor/main.js";
import { draftOf, dropDraft, keepDraft } from "./drafts.js";

/** How long to wait for the next key before a text is checked, in milliseconds. */
const PAUSE = 300;

/** What is known of a text: `none`: it can't be checked by this caller. */
export type Check = "none" | "checking" | "good" | "bad" | "failed";

export class OpenScript {
  readonly name: string;
  readonly #circle: Circle;
  readonly #mayManage: boolean;
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #source: string | undefined;

  /** The newest version, as the circle has it. */
  readonly newest = signal<Script | undefined>(undefined);
  /** True once it is known what the circle has, be it nothing. */
  readonly isLoaded = signal(false);
  readonly error = signal<Error | undefined>(undefined);
  readonly text = signal("");
  /** The version that the text began with. */
  readonly base = signal<string | undefined>(undefined);
  readonly mark = signal<Mark | undefined>(undefined);
  readonly check = signal<Check>("none");
  readonly isSaving = signal(false);
  /** True while somebody has to choose between the newest version and the text. */
  readonly hasConflict = signal(false);

  /** True if the text isn't what the circle has. */
  readonly isDirty = computed(() => this.isLoaded.value && this.text.value !== (this.newest.value?.source ?? ""));
  /** True if the circle has another version than the one that the text began with. */
  readonly isOutdated = computed(() => this.isDirty.value && this.newest.value?.version !== this.base.value);

  constructor(circle: Circle, name: string, mayManage: boolean) {
    this.#circle = circle;
    this.name = name;
    this.#mayManage = mayManage;
  }

  /** Fetches the newest version. A text that somebody has changed stays. */
  async load(): Promise<void> {
    try {
      const script = await this.#circle.getScript({ name: this.name });
      this.#onLoaded(script);
    } catch (error) {
      if (error instanceof NotFoundError) this.#onLoaded(undefined);
      else this.error.value = error as Error;
    }
  }

  #onLoaded(script: Script | undefined): void {
    const isFirst = !this.isLoaded.value;
    const draft = isFirst ? draftOf(this.#circle.publicKey, this.name) : undefined;
    const wasDirty = this.isDirty.value;
    this.error.value = undefined;
    this.newest.value = script;
    this.isLoaded.value = true;
    if (draft) {
      this.text.value = draft.text;
      this.base.value = draft.base;
    } else if (!wasDirty) {
      this.text.value = script?.source ?? "";
      this.base.value = script?.version;
    }
    if (!this.isDirty.value) this.#onClean();
    if (this.text.value !== this.#source) this.#checkSoon(0);
  }

  /** Takes what somebody has typed. */
  edit(text: string): void {
    if (text === this.text.value) return;
    this.text.value = text;
    if (this.isDirty.value) keepDraft(this.#circle.publicKey, this.name, { text, base: this.base.value });
    else this.#onClean();
    this.#checkSoon(PAUSE);
  }

  /** Goes back to what the circle has. */
  discard(): void {
    this.hasConflict.value = false;
    this.text.value = this.newest.value?.source ?? "";
    this.#onClean();
    this.#checkSoon(0);
  }

  /** Saves the text. Returns the new version, or nothing if it has a fault, or somebody else has put another version. */
  async save(): Promise<string | undefined> {
    if (this.isSaving.value) return;
    const source = this.text.value;
    this.isSaving.value = true;
    try {
      // Without a version to compare, a script that somebody has made meanwhile would be lost.
      if (this.base.value === undefined) {
        await this.load();
        if (this.newest.value) return void this.#onConflict();
      }
      const put = await this.#circle.putScript({ name: this.name, source, if_version: this.base.value ?? null });
      this.base.value = put.version;
      await this.load();
      return put.version;
    } catch (error) {
      if (error instanceof ConflictError) {
        await this.load();
        return void this.#onConflict();
      }
      if (!(error instanceof ExecutionError) || !error.data?.line) throw error;
      this.#onFault(error);
      return undefined;
    } finally {
      this.isSaving.value = false;
    }
  }

  /** Saves the text over the version that somebody else has put. */
  async overwrite(): Promise<string | undefined> {
    this.hasConflict.value = false;
    this.base.value = this.newest.value?.version;
    return await this.save();
  }

  /** Ends what is under way. */
  close(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  #onConflict(): void {
    if (this.isDirty.value) this.hasConflict.value = true;
  }

  #onClean(): void {
    this.base.value = this.newest.value?.version;
    if (draftOf(this.#circle.publicKey, this.name)) dropDraft(this.#circle.publicKey, this.name);
  }

  #checkSoon(pause: number): void {
    this.#source = this.text.value;
    this.close();
    this.mark.value = undefined;
    const isEmpty = this.text.value.trim() === "";
    this.check.value = this.#mayManage && !isEmpty ? "checking" : "none";
    if (this.check.value === "checking") this.#timer = setTimeout(() => void this.#check(), pause);
  }

  async #check(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    try {
      await this.#circle.checkScript({ source: this.text.value }, { signal: abort.signal });
      if (!abort.signal.aborted) this.check.value = "good";
    } catch (error) {
      if (abort.signal.aborted) return;
      if (error instanceof ExecutionError) this.#onFault(error);
      else this.check.value = "failed";
    }
  }

  #onFault(error: InstanceType<typeof ExecutionError>): void {
    this.check.value = "bad";
    this.mark.value = markOf(error);
  }
}

/** Returns where a script has failed, and why. */
export function markOf({ message, data }: { message: string; data: { line?: number; column?: number } | null }): Mark {
  const text = message.replace(/^Execution Error: /, "").replace(/ \(-32000\)$/, "");
  return { line: data?.line ?? 1, column: data?.column, message: text };
}
