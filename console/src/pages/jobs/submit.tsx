/** Submits a job: a script of the circle, or one written here. */

import { useRef, useState } from "preact/hooks";
import { navigate, route } from "../../router.js";
import { may, type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, Select, TextArea, TextInput } from "../../ui/field.js";
import { parseJson } from "../../ui/json.js";
import { toast } from "../../ui/toast.js";
import { CloseDetail } from "./detail.js";
import { useScriptNames } from "./script-names.js";

const EXAMPLE = 'print("hello");\n40 + 2';

export function SubmitJob({ session }: { session: Session }) {
  const call = may(session, "call");
  const play = may(session, "play");
  const names = useScriptNames(session);
  const [how, setHow] = useState<"script" | "name">(route.value.query.get("name") || !play.ok ? "name" : "script");
  const [name, setName] = useState(route.value.query.get("name") ?? "");
  const [script, setScript] = useState(EXAMPLE);
  const [args, setArgs] = useState("");
  const [runAt, setRunAt] = useState("");
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const chosen = name || names[0] || "";
  const parsed = args.trim() ? parseJson(args) : undefined;
  const wrong = parsed instanceof Error ? parsed.message : undefined;
  const allowed = how === "name" ? call : play;
  const missing = how === "name" ? !chosen : !script.trim();
  const busyNow = useRef(false);

  const submit = async () => {
    if (busyNow.current || wrong || missing || !allowed.ok) return;
    busyNow.current = true;
    setBusy(true);
    setError(undefined);
    try {
      const { job_id, duplicate } = await session.circle.submitJob({
        ...(how === "name" ? { name: chosen } : { script }),
        ...(parsed !== undefined && { args: parsed }),
        ...(runAt && { run_at: new Date(runAt).toISOString() }),
        ...(key && { idempotency_key: key }),
      });
      toast(duplicate ? "It was submitted before, with the same key: this is that job" : "The job is kept");
      navigate("jobs", [job_id]);
    } catch (error) {
      setError(error);
    }
    busyNow.current = false;
    setBusy(false);
  };

  return (
    <form
      class="detail"
      aria-label="Submit a job"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <header class="detail-head">
        <h2>Submit a job</h2>
        <CloseDetail page="jobs" />
      </header>
      <p class="muted">
        A job is kept until its script has run, even if you leave or the server restarts. If the script fails, it runs
        again, some time later.
      </p>
      <fieldset class="choice">
        <legend>What it runs</legend>
        <label title={whyNot(session, "play")}>
          <input
            type="radio"
            name="how"
            checked={how === "script"}
            disabled={!play.ok}
            onChange={() => setHow("script")}
          />
          A script written here
        </label>
        <label title={whyNot(session, "call")}>
          <input type="radio" name="how" checked={how === "name"} disabled={!call.ok} onChange={() => setHow("name")} />
          A script of the circle
        </label>
      </fieldset>
      {how === "script" ? (
        <Field label="Script">
          <TextArea value={script} onInput={setScript} rows={6} mono />
        </Field>
      ) : names.length > 0 ? (
        <Field label="Script">
          <Select value={chosen} onInput={setName} options={names.map((name) => ({ value: name, label: name }))} />
        </Field>
      ) : (
        <Field label="Script" hint="The circle has no script yet.">
          <TextInput value={name} onInput={setName} />
        </Field>
      )}
      <Field label="Arguments (JSON)" hint="The script sees them as ARGS." error={wrong}>
        <TextArea value={args} onInput={setArgs} rows={3} mono placeholder='{"to": "…"}' />
      </Field>
      <Field label="Not before" hint="By this device's time. Empty: at once.">
        <TextInput type="datetime-local" value={runAt} onInput={setRunAt} />
      </Field>
      <Field label="Idempotency key" hint="A second job of yours with the same key runs nothing. Empty: none.">
        <TextInput value={key} onInput={setKey} />
      </Field>
      {Boolean(error) && <ErrorNote error={error} />}
      <div class="row end">
        <Button
          type="submit"
          kind="primary"
          busy={busy}
          disabled={missing || Boolean(wrong)}
          why={whyNot(session, how === "name" ? "call" : "play")}
        >
          Submit
        </Button>
      </div>
    </form>
  );
}
