import { useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Dialog } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, TextArea, TextInput } from "../../ui/field.js";
import { WRITE, type Written } from "./scripts.js";
import { tooLong, wrong } from "./text.js";

/** Says to people what `ttl` takes. */
export const TTL_HINT = "Like 90s, 1h or 30d. Empty: it doesn't expire";

interface NewKeyProps {
  readonly session: Session;
  readonly prefix: string;
  readonly onClose: () => void;
  readonly onMade: (key: string) => void;
}

/** Asks for a key that there isn't yet, and its value. */
export function NewKey({ session, prefix, onClose, onMade }: NewKeyProps) {
  const [key, setKey] = useState(prefix);
  const [text, setText] = useState("");
  const [ttl, setTtl] = useState("");
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const fault = text.trim() ? wrong(text) : undefined;
  const long = fault ? undefined : tooLong(text);
  const save = async () => {
    setBusy(true);
    try {
      const args = { key, was: null, text, ttl: ttl.trim() };
      const { value } = await session.circle.play<Written>(WRITE, args);
      if (value.conflict) setError(new Error("there is such a key already; open it to change it"));
      else onMade(key);
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };
  return (
    <Dialog title="New key" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (key && text.trim() && !fault) void save();
        }}
      >
        <Field label="Key" hint="A / or : makes groups: user/42, cart:7">
          <TextInput value={key} onInput={setKey} placeholder="user/42" mono autofocus />
        </Field>
        <Field
          label="Value, as JSON"
          error={fault}
          hint={long ? `${long} has more than 64 bits: it becomes a float` : undefined}
        >
          <TextArea value={text} onInput={setText} placeholder={'{ "name": "Ada" }'} rows={6} mono />
        </Field>
        <Field label="Lives for" hint={TTL_HINT}>
          <TextInput value={ttl} onInput={setTtl} placeholder="1h" mono />
        </Field>
        <ErrorNote error={error} />
        <div class="row end">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" disabled={!key || !text.trim() || Boolean(fault)} busy={isBusy}>
            Make the key
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
