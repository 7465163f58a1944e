/** One job. */

import type { Job, JobInput } from "@circled/client";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { href, navigate, route } from "../../router.js";
import { may, type Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import { JsonView } from "../../ui/json.js";
import { Panel } from "../../ui/panel.js";
import { Text, visible } from "../../ui/text.js";
import { useAsync } from "../../ui/use-query.js";
import { JobActions } from "./actions.js";
import { useJob } from "./follow.js";
import { isDelivery, JobBadge, mayRetry, titleOf } from "./job.js";
import { ErrorPanel, Logs, MendLink, Value } from "./outcome.js";
import { JobFacts } from "./times.js";

interface Props {
  session: Session;
  id: string;
  /** The job as the list knows it, until all of it is there. */
  listed: Job | undefined;
  onChange(job: Job): void;
}

export function JobDetail({ session, id, listed, onChange }: Props) {
  const [{ job = listed, error }, again] = useJob(session, id);
  const input = useInput(session, id, job);
  if (!job) {
    return (
      <article class="detail" aria-label="Job">
        <header class="detail-head">
          <h2>Job</h2>
          <CloseDetail page="jobs" />
        </header>
        {error ? <ErrorNote error={error} /> : <p class="muted">Loading…</p>}
      </article>
    );
  }
  const onDone = () => {
    again();
    session.circle.getJob({ job_id: id }).then(onChange, () => {});
  };
  return (
    <article class="detail" aria-label="Job">
      <DetailHead job={job} page="jobs">
        <JobActions session={session} job={job} onDone={onDone} />
      </DetailHead>
      {mayRetry(job) && <p class="muted small">Retry runs this job again, with the newest script; it stays one job.</p>}
      {error && <ErrorNote error={error} />}
      <ErrorPanel session={session} job={job} source={job.name ? undefined : (input?.script ?? undefined)} />
      {job.error && may(session, "manage").ok && <MendLink job={job} />}
      <Value job={job} />
      <Logs job={job} />
      <Panel title="Facts">
        <JobFacts job={job} />
      </Panel>
      {isDelivery(job) ? (
        <p>
          <a href={href("deliveries", [id])}>The delivery and its payload</a>
        </p>
      ) : (
        input && <Input input={input} hasName={Boolean(job.name)} />
      )}
    </article>
  );
}

/** The beginning of a detail: what it is, how it is, what can be done. */
export function DetailHead(props: { job: Job; page: string; children: ComponentChildren }) {
  return (
    <header class="detail-head">
      <h2>
        <Text value={titleOf(props.job)} />
      </h2>
      <JobBadge status={props.job.status} />
      <div class="row detail-actions">
        {props.children}
        <CloseDetail page={props.page} />
      </div>
    </header>
  );
}

/** Goes back to the list; its filters stay. */
export function CloseDetail({ page }: { page: string }) {
  const close = () => navigate(page, [], Object.fromEntries(route.peek().query));
  return (
    <Button kind="quiet" class="icon-only" label="Close" onClick={close}>
      ✕
    </Button>
  );
}

/** Asks for the input of a submitted job, which never changes. */
function useInput(session: Session, id: string, job: Job | undefined): JobInput | undefined {
  const isSubmitted = job && !isDelivery(job);
  const asked = useAsync(async () => {
    if (!isSubmitted) return undefined;
    const { input } = await session.circle.getJob({ job_id: id, input: true });
    return input ?? undefined;
  }, [session, id, isSubmitted]);
  return asked.value;
}

function Input({ input, hasName }: { input: JobInput; hasName: boolean }) {
  const [isOpen, open] = useState(!hasName);
  return (
    <>
      <Panel title="Arguments">
        {input.args === undefined || input.args === null ? (
          <p class="muted">It was submitted without arguments.</p>
        ) : (
          <JsonView value={input.args} />
        )}
      </Panel>
      {typeof input.script === "string" && (
        <details class="source" open={isOpen} onToggle={(event) => open(event.currentTarget.open)}>
          <summary>The script that it runs</summary>
          {isOpen && <pre>{visible(input.script, true)}</pre>}
        </details>
      )}
    </>
  );
}
