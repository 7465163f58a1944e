import { parse } from "@circled/client/json";
import { useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Dialog } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, TextArea, TextInput } from "../../ui/field.js";
import { toast } from "../../ui/toast.js";
import { wrong } from "../store/text.js";

/** Asks for a topic and a value, and emits an event, as the caller. */
export function Emit({ session, topic: first, onClose }: { session: Session; topic: string; onClose: () => void }) {
  const [topic, setTopic] = useState(first);
  const [text, setText] = useState('{ "text": "hello" }');
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const fault = wrong(text);
  const emit = async () => {
    setBusy(true);
    try {
      await session.circle.play("emit(ARGS.topic, ARGS.data)", { topic, data: parse(text) });
      toast("Emitted the event");
      onClose();
    } catch (error) {
      setError(error);
      setBusy(false);
    }
  };
  return (
    <Dialog title="Emit an event" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (topic && !fault) void emit();
        }}
      >
        <Field
          label="Topic"
          hint="All who have subscribed to it get the event. Topics like job. and circle. are the server's own"
        >
          <TextInput value={topic} onInput={setTopic} placeholder="chat.new" mono autofocus />
        </Field>
        <Field label="Data, as JSON" error={fault}>
          <TextArea value={text} onInput={setText} rows={5} mono />
        </Field>
        <ErrorNote error={error} />
        <div class="row end">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" disabled={!topic || Boolean(fault)} busy={isBusy}>
            Emit
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
