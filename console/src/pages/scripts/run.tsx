/** Runs a script, and shows what has come of it. */

import { useSignal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { Mark } from "../../editor/main.js";
import { may, type Session, whyNot } from "../../session.js";
import { keepText, keptText } from "../../tab-texts.js";
import { Button } from "../../ui/button.js";
import { Field, Select, TextArea } from "../../ui/field.js";
import { formatJson, parseJson } from "../../ui/json.js";
import { Panel } from "../../ui/panel.js";
import { markOf } from "./check.js";
import { SCRATCH } from "./drafts.js";
import { type Outcome, Result } from "./result.js";

/** The text in the editor, or a version of the script: one of what can be run. */
export interface Runnable {
  readonly value: string;
  readonly label: string;
  /** The text; without it, the named script is called. */
  readonly text?: string | undefined;
  readonly version?: string | undefined;
  /** True if it is what the editor shows, so a line of an error is one of the editor's. */
  readonly isShown?: boolean;
}

interface Props {
  readonly session: Session;
  /** The script's name, if it has one. */
  readonly name?: string | undefined;
  readonly runnables: readonly Runnable[];
  /** The one that is run unless another is chosen. */
  readonly preferred: string;
  /** Is told where the run has failed; nothing, if it hasn't, or where that isn't in the text of the editor. */
  readonly onFault: (mark: Mark | undefined) => void;
  readonly onJump: (line: number, column?: number) => void;
  /** Is given what runs the script, for the shortcut. */
  readonly run: { current: (() => void) | undefined };
}

export function Run({ session, name, runnables, preferred, onFault, onJump, run }: Props) {
  // As they were typed last, in this tab.
  const keptAs = `args:${name ?? SCRATCH}`;
  const args = useSignal(keptText(session.pk, keptAs) ?? "");
  const setArgs = (text: string) => {
    args.value = text;
    keepText(session.pk, keptAs, text);
  };
  const isBusy = useSignal(false);
  const outcome = useSignal<Outcome | undefined>(undefined);
  /** What somebody has chosen, until another text is preferred: it was changed, or saved. */
  const [chosen, setChosen] = useState<{ value: string; preferred: string }>();
  const wanted = chosen?.preferred === preferred ? chosen.value : preferred;
  const runnable =
    runnables.find(({ value }) => value === wanted) ?? runnables.find(({ value }) => value === preferred);

  const parsed = args.value.trim() === "" ? undefined : parseJson(args.value);
  const fault = parsed instanceof Error ? parsed.message : undefined;
  const why = whyNotRun(session, runnable) ?? (fault && "ARGS are no JSON");

  const start = async () => {
    if (!runnable || why || isBusy.peek()) return;
    isBusy.value = true;
    onFault(undefined);
    const began = performance.now();
    const ended = () => Math.round(performance.now() - began);
    try {
      const result = await runIt(session, name, runnable, parsed);
      outcome.value = { result, time: ended() };
    } catch (error) {
      outcome.value = { error: error as Error, time: ended(), isShown: Boolean(runnable.isShown) };
      const { data } = error as { data?: { line?: number } };
      if (data?.line && runnable.isShown) onFault(markOf(error as Parameters<typeof markOf>[0]));
    } finally {
      isBusy.value = false;
    }
  };
  run.current = () => void start();

  return (
    <Panel
      title="Run"
      actions={
        <Button kind="primary" small onClick={start} busy={isBusy.value} why={why}>
          Run
        </Button>
      }
    >
      <div class="stack">
        {runnables.length > 1 && (
          <Field label="Script">
            <Select
              value={runnable?.value ?? ""}
              onInput={(value) => setChosen({ value, preferred })}
              options={runnables}
            />
          </Field>
        )}
        <Field label="ARGS, as JSON" error={fault} hint={fault ? undefined : "Empty: the script sees ()"}>
          <TextArea
            value={args.value}
            onInput={setArgs}
            rows={Math.min(12, Math.max(3, args.value.split("\n").length))}
            placeholder={'{"name": "Ada"}'}
            mono
          />
        </Field>
        {parsed !== undefined && !fault && args.value !== formatJson(parsed) && (
          <button type="button" class="link" onClick={() => setArgs(formatJson(parsed))}>
            Format
          </button>
        )}
        {outcome.value && <Result outcome={outcome.value} onJump={onJump} />}
      </div>
    </Panel>
  );
}

function whyNotRun(session: Session, runnable: Runnable | undefined): string | undefined {
  if (!runnable) return "There is nothing to run yet";
  if (runnable.text !== undefined) return whyNot(session, "play");
  return whyNot(session, "call") ?? (runnable.version === undefined ? undefined : whyNot(session, "manage"));
}

async function runIt(session: Session, name: string | undefined, { text, version }: Runnable, args: unknown) {
  const { circle } = session;
  // What a run has read and written is for whoever may manage.
  const effects = may(session, "manage").ok;
  if (text !== undefined) return await circle.play(text, args, { effects });
  return await circle.call(name ?? "", args, { version, effects });
}
