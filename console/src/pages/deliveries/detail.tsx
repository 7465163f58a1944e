/** One delivery: how its script has run, why it failed, what was sent. */

import type { Job } from "@circled/client";
import { useState } from "preact/hooks";
import { navigate, route } from "../../router.js";
import { may, type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import { Panel } from "../../ui/panel.js";
import { toast, toastError } from "../../ui/toast.js";
import { JobActions } from "../jobs/actions.js";
import { CloseDetail, DetailHead } from "../jobs/detail.js";
import { useJob } from "../jobs/follow.js";
import { ErrorPanel, Logs, Value } from "../jobs/outcome.js";
import { Redelivered } from "../jobs/redelivered.js";
import { JobFacts } from "../jobs/times.js";
import { Mend } from "./mend.js";
import { Payload } from "./payload.js";

interface Props {
  session: Session;
  id: string;
  /** The delivery as the list knows it. */
  listed: Job | undefined;
  /** All deliveries that the list knows. */
  rows: readonly Job[];
  onChange(job: Job): void;
  /** Called once there is a new job. */
  onRedelivered(): void;
}

export function DeliveryDetail(props: Props) {
  // Only the owner may see all of a delivery; others who may manage see what the list has.
  return may(props.session, "owner").ok ? <Whole {...props} /> : <Shown {...props} job={props.listed} />;
}

function Whole(props: Props) {
  const { session, id, listed, onChange } = props;
  const [{ job = listed, error }, again] = useJob(session, id);
  const onDone = () => {
    again();
    session.circle.getJob({ job_id: id }).then(onChange, () => {});
  };
  return <Shown {...props} job={job} error={error} onDone={onDone} />;
}

function Shown(props: Props & { job: Job | undefined; error?: Error | undefined; onDone?: () => void }) {
  const { session, id, job, error, onDone } = props;
  if (!job) {
    return (
      <article class="detail" aria-label="Delivery">
        <header class="detail-head">
          <h2>Delivery</h2>
          <CloseDetail page="deliveries" />
        </header>
        {error ? (
          <ErrorNote error={error} />
        ) : (
          <p class="muted">{onDone ? "Loading…" : "It isn't loaded yet: scroll down."}</p>
        )}
      </article>
    );
  }
  const mend = may(session, "manage").ok && <Mend session={session} job={job} />;
  // Most scripts of deliveries return nothing.
  const hasValue = (job.value !== undefined && job.value !== null) || job.output;
  return (
    <article class="detail" aria-label="Delivery">
      <DetailHead job={job} page="deliveries">
        <Redeliver session={session} id={id} onDone={props.onRedelivered} />
        <JobActions session={session} job={job} onDone={onDone ?? (() => {})} />
      </DetailHead>
      {may(session, "manage").ok && <Redelivered session={session} job={job} rows={props.rows} />}
      {error && <ErrorNote error={error} />}
      <ErrorPanel session={session} job={job} />
      {job.error && mend}
      {hasValue && <Value job={job} />}
      <Logs job={job} />
      <Payload key={id} session={session} id={id} />
      {!job.error && mend}
      <Panel title="Facts">
        <JobFacts job={job} />
      </Panel>
    </article>
  );
}

function Redeliver({ session, id, onDone }: { session: Session; id: string; onDone(): void }) {
  const [busy, setBusy] = useState(false);
  const redeliver = async () => {
    setBusy(true);
    try {
      const { job_id } = await session.circle.redeliver({ job_id: id });
      toast("It runs once more, as this new job");
      onDone();
      navigate("deliveries", [job_id], Object.fromEntries(route.peek().query));
    } catch (error) {
      toastError(error);
    }
    setBusy(false);
  };
  return (
    <Button onClick={redeliver} busy={busy} why={whyNot(session, "manage")}>
      Redeliver
    </Button>
  );
}
