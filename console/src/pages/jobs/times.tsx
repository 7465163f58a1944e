/** The facts of a job: who, when, how often. */

import type { Job } from "@circled/client";
import { type ComponentChildren, Fragment } from "preact";
import { CopyButton } from "../../ui/copy.js";
import { Key } from "../../ui/key.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";
import { isDelivery, isOpen } from "./job.js";
import { scriptHref } from "./outcome.js";

/** A list of names and values; those without a value aren't in it. */
export function Facts({ facts }: { facts: [name: string, value: ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts.map(
        ([name, value]) =>
          value !== null &&
          value !== undefined &&
          value !== "" && (
            <Fragment key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </Fragment>
          ),
      )}
    </dl>
  );
}

const time = (at: string | null | undefined) => (at ? <Time at={at} /> : null);

export function JobFacts({ job }: { job: Job }) {
  return (
    <Facts
      facts={[
        ["Script", job.name ? <ScriptLink job={job} /> : null],
        ["Submitted", isDelivery(job) ? null : time(job.submitted_at)],
        ["Received", isDelivery(job) ? time(job.submitted_at) : null],
        ["Run at", time(job.run_at)],
        ["Next run", isOpen(job) ? time(job.due) : null],
        ["Ended", time(job.ended_at)],
        ["Tries", String(job.tries)],
        ["Crashes", job.crashes ? `${job.crashes}: so many servers died while they ran it` : null],
        ["Event", job.event_id ? <Text value={job.event_id} /> : null],
        ["Type", job.event_type ? <Text value={job.event_type} /> : null],
        ["Caller", isDelivery(job) ? <Text value={job.caller} /> : <Key pubkey={job.caller} />],
        ["Device key", job.device ? <Key pubkey={job.device} /> : null],
        ["Job", <JobId key="id" id={job.job_id} />],
      ]}
    />
  );
}

function ScriptLink({ job }: { job: Job }) {
  return (
    <span class="key">
      <a href={scriptHref(job)}>
        <Text value={job.name ?? ""} />
      </a>
      {job.version && (
        <code class="muted" title={`Version ${job.version}`}>
          {job.version.slice(0, 8)}
        </code>
      )}
    </span>
  );
}

function JobId({ id }: { id: string }) {
  return (
    <span class="key">
      <code>{id}</code>
      <CopyButton text={id} label="Copy the job's id" />
    </span>
  );
}
