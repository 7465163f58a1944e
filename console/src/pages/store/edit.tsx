import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, TextArea } from "../../ui/field.js";
import { Pre } from "../../ui/pre.js";
import { toast } from "../../ui/toast.js";
import { WRITE, type Written } from "./scripts.js";
import { pretty, tooLong, wrong } from "./text.js";

/** True while a value is being edited, and differs from what it was. */
export const isUnsaved = signal(false);

interface EditProps {
  readonly session: Session;
  readonly name: string;
  /** The value's text when editing began; `now`: as it is in the store now, undefined if there is none. */
  readonly was: string;
  readonly now: string | undefined;
  readonly onDone: () => void;
}

/** The value of a key as text. It is saved only if the store still has what was shown; else both are shown. */
export function Edit({ session, name, was, now, onDone }: EditProps) {
  const [text, setText] = useState(() => pretty(was));
  // What the user has seen of the store's side: it may be replaced.
  const [seen, setSeen] = useState<string | null>(was);
  const [refused, setRefused] = useState<string | null>();
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    isUnsaved.value = text !== pretty(was);
    return () => {
      isUnsaved.value = false;
    };
  }, [text, was]);
  const fault = wrong(text);
  const long = fault ? undefined : tooLong(text);
  const current = now ?? null;
  // While it is being saved, the change may be this one.
  const hasChanged = !isBusy && (current !== seen || refused !== undefined);
  const theirs = refused === undefined || current !== seen ? current : refused;
  const save = async (was: string | null) => {
    setBusy(true);
    setError(undefined);
    try {
      const { value } = await session.circle.play<Written>(WRITE, { key: name, was, text, ttl: null });
      if (value.conflict) setRefused(value.text);
      else {
        toast("Saved");
        onDone();
      }
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };
  const take = () => {
    setText(theirs === null ? "" : pretty(theirs));
    setSeen(theirs);
    setRefused(undefined);
  };
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        if (!fault) void save(seen);
      }}
    >
      <Field
        label="Value, as JSON"
        error={fault}
        hint={long ? `${long} has more than 64 bits: it becomes a float` : undefined}
      >
        <TextArea value={text} onInput={setText} rows={Math.min(24, Math.max(8, text.split("\n").length + 1))} mono />
      </Field>
      {hasChanged && (
        <section class="store-conflict" aria-label="The value has changed">
          <p role="alert">
            {theirs === null ? "The key was deleted meanwhile." : "Somebody else has changed the value meanwhile."}{" "}
            Nothing of yours is saved yet.
          </p>
          {theirs !== null && (
            <div class="store-theirs">
              <h3>In the store now</h3>
              <Pre text={pretty(theirs)} label="In the store now" />
            </div>
          )}
          <div class="row">
            <Button onClick={take}>{theirs === null ? "Begin anew" : "Take this one"}</Button>
            <Button kind="danger" onClick={() => save(theirs)} disabled={Boolean(fault)} busy={isBusy}>
              {theirs === null ? "Make it again with mine" : "Replace it with mine"}
            </Button>
          </div>
        </section>
      )}
      <ErrorNote error={error} />
      <div class="row">
        <Button kind="primary" type="submit" disabled={Boolean(fault) || hasChanged} busy={isBusy}>
          Save
        </Button>
        <Button onClick={onDone}>Cancel</Button>
      </div>
    </form>
  );
}
