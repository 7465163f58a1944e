import { ExecutionError, NotFoundError } from "@circled/client";
import { stringify } from "@circled/client/json";
import { useState } from "preact/hooks";
import { may, type Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { confirmByName } from "../../ui/dialog.js";
import { Empty } from "../../ui/empty.js";
import { ErrorNote } from "../../ui/error.js";
import { JsonView, parseJson } from "../../ui/json.js";
import { Text } from "../../ui/text.js";
import { toast, toastError } from "../../ui/toast.js";
import { useAsync, useWatch } from "../../ui/use-query.js";
import { Edit } from "./edit.js";
import { Expiry } from "./expiry.js";
import { DELETE, type Entry, READ } from "./scripts.js";
import { pretty, typeable } from "./text.js";

interface EntryPanelProps {
  readonly session: Session;
  readonly name: string;
  readonly onClose: () => void;
}

interface Read {
  readonly entry: Entry | null | undefined;
  readonly error: unknown;
  /** The text was made by a script: it tells `1.0` from `1`. */
  readonly isExact: boolean;
  /** Reads it again, if it isn't followed. */
  reload(): void;
}

/** Follows a key. Without `play`, or where a script may not return as much, it is read once, by `store_get`. */
function useEntry(session: Session, key: string): Read {
  const mayPlay = may(session, "play").ok;
  const watch = useWatch<Entry | null>(session, mayPlay ? { script: READ } : undefined, { key });
  const isRead = (!mayPlay || watch.error !== undefined) && may(session, "manage").ok;
  const read = useAsync(async (): Promise<Entry | null | undefined> => {
    if (!isRead) return undefined;
    try {
      const { value, expires_at } = await session.circle.storeGet({ key });
      return { text: stringify(value), expires: expires_at ? Date.parse(expires_at) : null };
    } catch (error) {
      if (error instanceof NotFoundError) return null;
      throw error;
    }
  }, [session.circle, key, isRead]);
  return isRead
    ? { entry: read.value, error: read.error, isExact: false, reload: read.reload }
    : { entry: watch.value, error: watch.error, isExact: true, reload: () => {} };
}

/** A key of the store: its value as a tree or as text, and what can be done with it. */
export function EntryPanel({ session, name, onClose }: EntryPanelProps) {
  const { entry, error, isExact, reload } = useEntry(session, name);
  // The text as it was when editing began.
  const [editing, setEditing] = useState<string>();
  const mayPlay = may(session, "play");
  const why = mayPlay.ok ? undefined : mayPlay.why;
  const edit = async ({ text }: Entry) => {
    if (isExact) return setEditing(text);
    try {
      const { value } = await session.circle.play<Entry | null>(READ, { key: name });
      if (value) setEditing(value.text);
      else reload();
    } catch (error) {
      if (!(error instanceof ExecutionError) || error.data.kind !== "size") throw error;
      toast("No script may return a value as large as this one, so it can't be edited here", "error");
    }
  };
  const remove = async () => {
    const isSure = await confirmByName({
      title: "Delete this key?",
      body: (
        <p>
          <code>
            <Text value={name} />
          </code>{" "}
          and its value will be deleted. This can't be undone.
        </p>
      ),
      name: typeable(name),
      action: "Delete the key",
    });
    if (!isSure) return;
    const { value: had } = await session.circle.play<boolean>(DELETE, { key: name });
    toast(had ? "Deleted the key" : "The key was gone already");
    onClose();
  };
  return (
    <div class="store-detail">
      <header class="store-head">
        <h2>
          <Text value={name} />
        </h2>
        <CopyButton text={name} label="Copy the key" />
        <Button kind="quiet" small label="Close" class="icon-only" onClick={onClose}>
          ✕
        </Button>
      </header>
      <ErrorNote error={error} />
      {entry === null && editing === undefined && (
        <Empty title="There is no such key">
          It was deleted, has expired, or was never there. If it comes back, it is shown here.
        </Empty>
      )}
      {editing !== undefined && (
        <Edit
          session={session}
          name={name}
          was={editing}
          now={entry === undefined || !isExact ? editing : entry?.text}
          onDone={() => {
            setEditing(undefined);
            reload();
          }}
        />
      )}
      {entry && editing === undefined && (
        <>
          <div class="row">
            <Button kind="primary" onClick={() => edit(entry).catch(toastError)} why={why}>
              Edit
            </Button>
            <CopyButton text={() => pretty(entry.text)} label="Copy the value" />
            <span class="muted">{entry.text.length.toLocaleString("en")} characters</span>
            <span class="grow" />
            <Button onClick={() => remove().catch(toastError)} why={why}>
              Delete…
            </Button>
          </div>
          <div class="store-json">
            <JsonView value={parseJson(entry.text)} />
          </div>
          <Expiry session={session} name={name} expires={entry.expires} />
        </>
      )}
    </div>
  );
}
