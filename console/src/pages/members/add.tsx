/** Adds a member by their public key. */

import { parseKey } from "@circled/client/address";
import { useState } from "preact/hooks";
import { type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Field, TextInput } from "../../ui/field.js";
import { toast, toastError } from "../../ui/toast.js";

interface Props {
  readonly session: Session;
  /** The keys of those who belong to the circle already. */
  readonly taken: readonly string[];
  readonly onAdded: () => void;
}

export function AddMember({ session, taken, onAdded }: Props) {
  const [typed, setTyped] = useState("");
  const [isBusy, setBusy] = useState(false);
  const key = parseKey(typed.trim());
  const fault = faultOf(typed.trim(), key, taken);
  const add = async () => {
    if (!key || fault || isBusy) return;
    setBusy(true);
    try {
      const { added } = await session.circle.addMember({ pubkey: key });
      toast(added ? "Added: they are a member from now on" : "They were a member already");
      setTyped("");
      onAdded();
    } catch (error) {
      toastError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="add-member"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <Field label="Add a member by their public key" error={fault}>
        <TextInput value={typed} onInput={setTyped} mono placeholder="02… or 03…, 66 hex digits" />
      </Field>
      <Button
        kind="primary"
        type="submit"
        busy={isBusy}
        why={whyNot(session, "owner")}
        disabled={!key || Boolean(fault)}
      >
        Add
      </Button>
    </form>
  );
}

/** Returns what is wrong with a key, as far as it can be known before the server is asked. */
export function faultOf(typed: string, key: string | undefined, taken: readonly string[]): string | undefined {
  if (typed === "") return undefined;
  if (key) return taken.includes(key) ? "They belong to the circle already." : undefined;
  const digits = typed.replace(/^0x/i, "");
  if (!/^[0-9a-f]*$/i.test(digits)) return "A key has only the digits 0 to 9 and a to f.";
  if (digits.length === 64) return "These are 64 digits: a secret key, or one of Nostr. Never give a secret key away.";
  if (digits.length === 40) return "This is an address, which is no key. Their console shows their key.";
  if (digits.length < 66) return `A key has 66 digits; these are ${digits.length}.`;
  return "This is no public key.";
}
