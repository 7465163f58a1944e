/** A script that is open: what the circle has, the text in the editor, and what is wrong with it. */

import { type Circle, ConflictError, ExecutionError, NotFoundError, type Script } from "@circled/client";
import { computed, signal } from "@preact/signals";
import { Check } from "./check.js";
import { draftOf, dropDraft, keepDraft } from "./drafts.js";

export class OpenScript {
  readonly name: string;
  readonly #circle: Circle;
  readonly check: Check;

  /** The newest version, as the circle has it. */
  readonly newest = signal<Script | undefined>(undefined);
  /** True once it is known what the circle has, be it nothing. */
  readonly isLoaded = signal(false);
  readonly error = signal<Error | undefined>(undefined);
  readonly text = signal("");
  /** The version that the text began with. */
  readonly base = signal<string | undefined>(undefined);
  readonly isSaving = signal(false);
  /** True once the text, or what the circle has, isn't as it was when the script was opened. */
  readonly hasChanged = signal(false);
  /** True once somebody has typed a script that the circle doesn't have, also if nothing is left of it. */
  readonly isBegun = signal(false);
  /** True while somebody has to choose between the newest version and the text. */
  readonly hasConflict = signal(false);

  /** True if the text isn't what the circle has. */
  readonly isDirty = computed(() => this.isLoaded.value && this.text.value !== (this.newest.value?.source ?? ""));
  /** True if the circle has another version than the one that the text began with. */
  readonly isOutdated = computed(() => this.isDirty.value && this.newest.value?.version !== this.base.value);

  constructor(circle: Circle, name: string, mayManage: boolean) {
    this.#circle = circle;
    this.name = name;
    this.check = new Check(circle, mayManage);
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
    if (!isFirst && script?.version !== this.newest.value?.version) this.hasChanged.value = true;
    this.newest.value = script;
    if (script) this.isBegun.value = false;
    this.isLoaded.value = true;
    if (draft) {
      this.text.value = draft.text;
      this.base.value = draft.base;
    } else if (!wasDirty) {
      this.text.value = script?.source ?? "";
      this.base.value = script?.version;
    }
    // Whoever saves the text of a script that is gone makes it anew.
    if (!script) this.base.value = undefined;
    if (!this.isDirty.value) this.#onClean();
    this.check.check(this.text.value, false);
  }

  /** Takes what somebody has typed. */
  edit(text: string): void {
    if (text === this.text.value) return;
    this.text.value = text;
    this.hasChanged.value = true;
    if (!this.newest.value) this.isBegun.value = true;
    if (this.isDirty.value) keepDraft(this.#circle.publicKey, this.name, { text, base: this.base.value });
    else this.#onClean();
    this.check.check(text, true);
  }

  /** Goes back to what the circle has. */
  discard(): void {
    this.hasConflict.value = false;
    this.text.value = this.newest.value?.source ?? "";
    this.#onClean();
    this.check.check(this.text.value, false);
  }

  /** Saves the text. Returns the new version, or nothing if somebody else has put another version. Fails if it has a fault. */
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
        if (!this.newest.value) throw new Error("somebody has deleted it meanwhile: save again to make it anew");
        return void this.#onConflict();
      }
      if (!(error instanceof ExecutionError) || !error.data?.line) throw error;
      this.check.onFault(error);
      throw new Error("it isn't saved, because it doesn't compile");
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

  #onConflict(): void {
    if (this.isDirty.value) this.hasConflict.value = true;
  }

  #onClean(): void {
    this.base.value = this.newest.value?.version;
    if (draftOf(this.#circle.publicKey, this.name)) dropDraft(this.#circle.publicKey, this.name);
  }
}
