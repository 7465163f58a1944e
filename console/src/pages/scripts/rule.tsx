/** Who may call a script, and its end. */

import type { CallRule, Script } from "@circled/client";
import { useState } from "preact/hooks";
import { navigate } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { confirmByName } from "../../ui/dialog.js";
import { Field, Select } from "../../ui/field.js";
import { Panel } from "../../ui/panel.js";
import { Text } from "../../ui/text.js";
import { toast, toastError } from "../../ui/toast.js";
import { dropDraft } from "./drafts.js";

/** The rules of a script, in words. */
const RULES: Record<CallRule, { readonly short: string; readonly long: string }> = {
  auto: { short: "by the circle's rule", long: "Whom the circle's rule “call” permits" },
  guest: { short: "guests", long: "Guests: whoever has logged in" },
  member: { short: "members", long: "Members and the owner" },
  owner: { short: "owner", long: "The owner alone" },
};
/** Returns the rule of a script, in short; also one that only a later server knows. */
export function ruleOf(call: CallRule | null | undefined): string {
  return RULES[call ?? "auto"]?.short ?? String(call);
}

const CHOICES = (Object.keys(RULES) as CallRule[]).map((value) => ({ value, label: RULES[value].long }));

interface Props {
  readonly session: Session;
  readonly script: Script;
  readonly onChanged: () => Promise<void>;
}

export function Rule({ session, script, onChanged }: Props) {
  const now = script.call ?? "auto";
  const [chosen, setChosen] = useState<CallRule>(now);
  const [isBusy, setBusy] = useState(false);
  const why = whyNot(session, "manage");

  const set = async () => {
    setBusy(true);
    try {
      const { name, source, version } = script;
      await session.circle.putScript({ name, source, if_version: version, call: chosen });
      await onChanged();
      toast(`${name}: ${RULES[chosen].long}`);
    } catch (error) {
      toastError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <div class="stack narrow">
      <Panel title="Who may call it">
        <div class="stack">
          <Field
            label="May call this script"
            hint="A rule of its own may permit more or less than the circle's. It doesn't count for imports and webhooks."
          >
            <Select value={chosen} onInput={setChosen} options={CHOICES} disabled={Boolean(why)} />
          </Field>
          <div class="row">
            <Button kind="primary" onClick={set} why={why} busy={isBusy} disabled={chosen === now}>
              Set the rule
            </Button>
          </div>
        </div>
      </Panel>
      <Panel title="Delete">
        <div class="stack">
          <p>
            Callers can't run it any more, and scripts that import it fail. All its {script.versions.length} version
            {script.versions.length === 1 ? " is" : "s are"} deleted.
          </p>
          <div class="row">
            <Button kind="danger" why={why} onClick={() => deleteScript(session, script)}>
              Delete this script…
            </Button>
          </div>
        </div>
      </Panel>
    </div>
  );
}

async function deleteScript({ circle, pk }: Session, { name, version }: Script): Promise<void> {
  const body = (
    <p>
      This deletes <Text value={name} /> with all its versions. It can't be undone.
    </p>
  );
  if (!(await confirmByName({ title: "Delete a script", body, name, action: "Delete" }))) return;
  try {
    await circle.deleteScript({ name, if_version: version });
    dropDraft(pk, name);
    toast(`${name} is deleted`);
    navigate("scripts");
  } catch (error) {
    toastError(error);
  }
}
