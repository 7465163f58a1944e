/** A new script: its name, and what it begins with. */

import { useState } from "preact/hooks";
import { href, navigate, route } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Field, TextInput } from "../../ui/field.js";
import { Page } from "../../ui/panel.js";
import { useAsync } from "../../ui/use-query.js";
import { draftNames, draftOf, dropDraft, keepDraft, SCRATCH } from "./drafts.js";
import { NAME, TEMPLATES } from "./templates.js";

export function NewScript({ session }: { session: Session }) {
  const { circle, pk } = session;
  const { query } = route.value;
  const scratch = query.get("from") === "scratch" ? draftOf(pk, SCRATCH)?.text : undefined;
  const templates = [
    ...(scratch === undefined
      ? []
      : [{ id: "scratch", title: "The scratch pad", about: "What is there now.", name: "", source: scratch }]),
    ...TEMPLATES,
    { id: "empty", title: "Empty", about: "Nothing but a line to type in.", name: "", source: "" },
  ];
  const [chosen, setChosen] = useState(templates[0]?.id);
  const [typed, setTyped] = useState<string | undefined>(query.get("name") ?? undefined);
  const template = templates.find(({ id }) => id === chosen) ?? templates[0];
  const name = typed ?? template?.name ?? "";

  const { value } = useAsync(async () => (await circle.listScripts()).scripts.map(({ name }) => name), [circle]);
  const isTaken = value?.includes(name) || draftNames(pk).includes(name);
  const error = errorOf(name, isTaken, typed !== undefined);
  const create = () => {
    if (!template || !NAME.test(name) || isTaken) return;
    keepDraft(pk, name, { text: template.source || "\n" });
    if (template.id === "scratch") dropDraft(pk, SCRATCH);
    navigate("scripts", [name]);
  };
  const title = (
    <>
      <a href={href("scripts")}>Scripts</a> <span class="crumb">/</span> New script
    </>
  );
  return (
    <Page title={title}>
      <form
        class="stack narrow"
        onSubmit={(event) => {
          event.preventDefault();
          create();
        }}
      >
        <Field
          label="Name"
          error={error}
          hint="Letters, digits and _ - . /, up to 64. The script on_<provider> runs for that provider's webhooks."
        >
          <TextInput value={name} onInput={setTyped} mono autofocus placeholder="lib/money" />
        </Field>
        <fieldset class="templates">
          <legend>Begin with</legend>
          {templates.map(({ id, title, about }) => (
            <label key={id} class="template">
              <input type="radio" name="template" checked={id === chosen} onChange={() => setChosen(id)} />
              <span>
                <strong>{title}</strong>
                <span class="hint">{about}</span>
              </span>
            </label>
          ))}
        </fieldset>
        {template?.source && <pre class="source-preview">{template.source}</pre>}
        <div class="row">
          <Button kind="primary" type="submit" why={whyNot(session, "manage")} disabled={!NAME.test(name) || isTaken}>
            Open in the editor
          </Button>
          <span class="hint">The circle has it once you save it.</span>
        </div>
      </form>
    </Page>
  );
}

function errorOf(name: string, isTaken: boolean | undefined, isTyped: boolean): string | undefined {
  if (isTaken) return "There is a script of this name already.";
  if (!isTyped || NAME.test(name)) return undefined;
  if (name === "") return "A script needs a name.";
  return "Only letters, digits and _ - . /, at most 64; the first is a letter or _.";
}
