/** What can be done with a job: stop it, or have it run again. */

import type { Job } from "@circled/client";
import { useState } from "preact/hooks";
import { may, type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Dialog } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, Select } from "../../ui/field.js";
import { toast, toastError } from "../../ui/toast.js";
import { useAsync } from "../../ui/use-query.js";
import { isDelivery, isOpen, mayRetry } from "./job.js";
import { findOthers, hasEffects, type Others, UNKNOWN } from "./redelivered.js";

interface Props {
  session: Session;
  job: Job;
  /** Called when something has been done, for those who get no events. */
  onDone(): void;
}

export function JobActions({ session, job, onDone }: Props) {
  const [busy, setBusy] = useState<"stop" | "retry">();
  const [choosing, choose] = useState(false);
  /** Why one is asked before a retry. */
  const [doubt, setDoubt] = useState<Others>();
  const { circle } = session;
  const run = async (what: "stop" | "retry", act: () => Promise<string>) => {
    setBusy(what);
    try {
      toast(await act());
    } catch (error) {
      toastError(error);
    }
    setBusy(undefined);
    onDone();
  };
  const stop = () =>
    run("stop", async () => {
      const { stopped } = await circle.stopJob({ job_id: job.job_id });
      return stopped ? "The job is cancelled" : "The job was over already";
    });
  const retry = (version?: string) =>
    run("retry", async () => {
      const { retried } = await circle.retryJob({ job_id: job.job_id, ...(version && { version }) });
      return retried ? "The job runs again" : "The job was neither dead nor cancelled any more";
    });
  /** Retries it; but if its effects may be there already, it asks before. */
  const askOrRetry = async () => {
    setBusy("retry");
    const others = await findOthers(session, job).catch((): Others => ({ isKnown: false }));
    if (!others.isKnown || (others.job && hasEffects(others.job))) {
      setBusy(undefined);
      setDoubt(others);
    } else await retry();
  };
  return (
    <>
      {isOpen(job) && (
        <Button onClick={stop} busy={busy === "stop"}>
          Stop
        </Button>
      )}
      {mayRetry(job) && (
        <Button onClick={askOrRetry} kind="primary" busy={busy === "retry"} why={whyNoRetry(session, job)}>
          Retry
        </Button>
      )}
      {mayRetry(job) && job.name && !isDelivery(job) && (
        <Button onClick={() => choose(true)} why={whyNot(session, "manage")}>
          Retry with a version…
        </Button>
      )}
      {doubt && (
        <Dialog title="Retry this delivery?" onClose={() => setDoubt(undefined)}>
          <p>
            {doubt.job && hasEffects(doubt.job) ? (
              <>
                Another job of this event is {doubt.job.status}. If this one runs, too, its effects would happen{" "}
                <strong>twice</strong>.
              </>
            ) : (
              `${UNKNOWN} If it was, its effects would happen twice.`
            )}
          </p>
          <div class="row end">
            <Button onClick={() => setDoubt(undefined)}>Cancel</Button>
            <Button
              kind="danger"
              onClick={() => {
                setDoubt(undefined);
                void retry();
              }}
            >
              Retry anyway
            </Button>
          </div>
        </Dialog>
      )}
      {choosing && job.name && (
        <ChooseVersion
          session={session}
          job={job}
          name={job.name}
          onClose={() => choose(false)}
          onChoice={(version) => {
            choose(false);
            void retry(version);
          }}
        />
      )}
    </>
  );
}

/** Returns why a job can't be retried: the owner may retry every one, a caller their own as long as they may run it. */
function whyNoRetry(session: Session, job: Job): string | undefined {
  if (isDelivery(job)) return whyNot(session, "owner");
  return may(session, "owner").ok ? undefined : whyNot(session, job.name ? "call" : "play");
}

interface ChooseProps {
  session: Session;
  job: Job;
  name: string;
  onClose(): void;
  onChoice(version: string): void;
}

function ChooseVersion({ session, job, name, onClose, onChoice }: ChooseProps) {
  const script = useAsync(() => session.circle.getScript({ name }), [session, name]);
  const versions = script.value?.versions ?? [];
  const [chosen, setChosen] = useState(job.version ?? "");
  const isThere = versions.some(({ version }) => version === chosen);
  const version = isThere ? chosen : (versions[0]?.version ?? "");
  return (
    <Dialog title="Retry with a version" onClose={onClose}>
      {script.error && <ErrorNote error={script.error} />}
      <Field label="Version" hint="A newer one may have mended what an older one has got wrong.">
        <Select
          value={version}
          onInput={setChosen}
          options={versions.map(({ version, put_at }, n) => ({
            value: version,
            label: `${version.slice(0, 8)}, ${new Date(put_at).toLocaleString("en")}${n === 0 ? " (newest)" : ""}${version === job.version ? " (ran last)" : ""}`,
          }))}
        />
      </Field>
      <div class="row end">
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" disabled={!version} onClick={() => onChoice(version)}>
          Retry
        </Button>
      </div>
    </Dialog>
  );
}
