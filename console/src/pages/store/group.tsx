import { useState } from "preact/hooks";
import { may, type Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { confirmByName } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Text } from "../../ui/text.js";
import { toast, toastError } from "../../ui/toast.js";
import { useWatch } from "../../ui/use-query.js";
import { COUNT, DELETE_PREFIX, type PrefixDeleted } from "./scripts.js";
import { typeable } from "./text.js";

interface GroupBarProps {
  readonly session: Session;
  readonly prefix: string;
  readonly onClose: () => void;
  readonly onNew: () => void;
}

/** A group of keys: how many they are, and what can be done with all of them. */
export function GroupBar({ session, prefix, onClose, onNew }: GroupBarProps) {
  const { value: count, error } = useWatch<number>(session, { script: COUNT }, { prefix });
  const [isBusy, setBusy] = useState(false);
  const mayPlay = may(session, "play");
  const why = mayPlay.ok ? undefined : mayPlay.why;
  const remove = async () => {
    await removeAll().catch(toastError);
    setBusy(false);
  };
  const removeAll = async () => {
    const { value: expect } = await session.circle.play<number>(COUNT, { prefix });
    const keys = expect === 1 ? "1 key" : `${expect.toLocaleString("en")} keys`;
    const isSure = await confirmByName({
      title: `Delete ${keys}?`,
      body: (
        <p>
          All keys that begin with{" "}
          <code>
            <Text value={prefix} />
          </code>{" "}
          will be deleted: {keys}. This can't be undone.
        </p>
      ),
      name: typeable(prefix),
      action: `Delete ${keys}`,
    });
    if (!isSure) return;
    setBusy(true);
    let left = expect;
    while (left > 0) {
      const { value } = await session.circle.play<PrefixDeleted>(DELETE_PREFIX, { prefix, expect: left });
      if (value.found > left) {
        toast(
          `There are ${value.found.toLocaleString("en")} keys now, more than were shown: no more are deleted`,
          "error",
        );
        break;
      }
      left = value.found - value.deleted;
    }
    if (left === 0) toast(`Deleted ${keys}`);
  };
  const text = count === undefined ? "…" : `${count.toLocaleString("en")} ${count === 1 ? "key" : "keys"}`;
  return (
    <section class="store-group" aria-label="The group">
      <code class="store-text">
        <Text value={prefix} />
      </code>
      <span class="muted">{text}</span>
      <CopyButton text={prefix} label="Copy the prefix" />
      <span class="grow" />
      <Button small onClick={onNew} why={why}>
        New key here
      </Button>
      <Button small onClick={() => void remove()} why={why} busy={isBusy} disabled={!count}>
        Delete all…
      </Button>
      <Button kind="quiet" small label="Leave the group" class="icon-only" onClick={onClose}>
        ✕
      </Button>
      <ErrorNote error={error} />
    </section>
  );
}
