/** How the last run of a job went: its error at its line, its value, its logs. */

import type { Job, JobError } from "@circled/client";
import { useState } from "preact/hooks";
import { href } from "../../router.js";
import { may, type Session } from "../../session.js";
import { CopyButton } from "../../ui/copy.js";
import { JsonView } from "../../ui/json.js";
import { Panel } from "../../ui/panel.js";
import { Text, visible } from "../../ui/text.js";
import { useAsync } from "../../ui/use-query.js";
import { isDelivery } from "./job.js";

/** Where an error is: "on_stripe, line 3", as a link to the script. */
export function Place({ job, error }: { job: Job; error: JobError }) {
  const at = error.line ? `, line ${error.line}${error.column ? `, column ${error.column}` : ""}` : "";
  if (!job.name) return at ? <span>{at.slice(2)}</span> : null;
  return (
    <a href={scriptHref(job, error)}>
      <Text value={job.name} />
      {at}
    </a>
  );
}

/** Returns the link to a job's script, at the line of its error, from where a link leads back to the job. */
export function scriptHref(job: Job, error?: JobError | null): string {
  const { line, column } = error ?? {};
  const query = {
    line: line?.toString(),
    column: column?.toString(),
    version: job.version ?? undefined,
    from: error ? `${isDelivery(job) ? "deliveries" : "jobs"}/${job.job_id}` : undefined,
  };
  return href("scripts", [job.name ?? ""], query);
}

/** The button that leads to the script of a failed job, at the line of its error. */
export function MendLink({ job }: { job: Job }) {
  if (!job.name) return null;
  const { error } = job;
  return (
    <div>
      <a class="button" href={scriptHref(job, error)}>
        {`${error ? "Mend" : "Open"} ${visible(job.name)}${error?.line ? ` at line ${error.line}` : ""}`}
      </a>
    </div>
  );
}

export function ErrorPanel({ session, job, source }: { session: Session; job: Job; source?: string | undefined }) {
  const { error } = job;
  if (!error) return null;
  return (
    <section class="job-error" aria-label="Error">
      <p class="job-error-kind">
        <span>{error.kind ? `${error.kind} error` : "error"}</span>
        <Place job={job} error={error} />
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <pre class="job-error-message" role="region" aria-label="Message" tabIndex={0}>
        <Text value={error.message} lines />
      </pre>
      {error.line && <Excerpt session={session} job={job} source={source} line={error.line} column={error.column} />}
    </section>
  );
}

interface ExcerptProps {
  session: Session;
  job: Job;
  /** The source, if it is known. */
  source?: string | undefined;
  line: number;
  column?: number | null | undefined;
}

/** The lines around an error, in the version that ran. */
function Excerpt({ session, job, source, line, column }: ExcerptProps) {
  const { name, version } = job;
  const isReadable = source === undefined && name && version && may(session, "manage").ok;
  const script = useAsync(
    async () => (isReadable ? (await session.circle.getScript({ name, version })).source : source),
    [session, name, version, source],
  );
  if (!script.value) return null;
  const all = script.value.split("\n");
  const first = Math.max(0, line - 3);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
    <pre class="excerpt" role="region" aria-label={`The script around line ${line}`} tabIndex={0}>
      {all.slice(first, line + 2).map((text, n) => {
        const number = first + n + 1;
        return (
          <span key={n} class={number === line ? "excerpt-line at" : "excerpt-line"}>
            <span class="excerpt-number">{number}</span>
            <span class="excerpt-text">
              <Text value={text.slice(0, 300)} />
              {number === line && column ? `\n${" ".repeat(Math.min(column, 300) - 1)}^` : ""}
            </span>
          </span>
        );
      })}
    </pre>
  );
}

/** What a run has returned. */
export function Value({ job }: { job: Job }) {
  const { value, output } = job;
  if (job.status !== "finished") return null;
  return (
    <Panel title="Value">
      {value !== undefined && value !== null ? (
        <JsonView value={value} />
      ) : (
        <p class="muted">{output ? <Text value={output} /> : "The script returned nothing."}</p>
      )}
    </Panel>
  );
}

const FIRST_LOGS = 200;

/** What the last run has printed. */
export function Logs({ job }: { job: Job }) {
  const [all, showAll] = useState(false);
  const logs = job.logs ?? [];
  if (logs.length === 0) return null;
  const shown = all ? logs : logs.slice(0, FIRST_LOGS);
  return (
    <Panel title={`Logs (${logs.length})`} actions={<CopyButton text={logs.join("\n")} label="Copy the logs" />}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <ol class="job-logs" tabIndex={0} aria-label="Lines">
        {shown.map((line, n) => (
          <li key={n}>
            <Text value={line} lines />
          </li>
        ))}
      </ol>
      {shown.length < logs.length && (
        <button type="button" class="link" onClick={() => showAll(true)}>
          Show all {logs.length} lines
        </button>
      )}
    </Panel>
  );
}
