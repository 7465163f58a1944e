import { href } from "../../router.js";
import { Status } from "../../ui/badge.js";
import { ErrorNote } from "../../ui/error.js";
import { Icon } from "../../ui/icon.js";
import { Panel } from "../../ui/panel.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";
import type { Failing } from "./attention.js";

interface Props {
  readonly failing: readonly Failing[] | undefined;
  readonly isMore: boolean;
  readonly error: unknown;
  readonly lost: number;
  readonly isOwner: boolean;
}

/** The list of what needs attention. */
export function Attention({ failing, isMore, error, lost, isOwner }: Props) {
  return (
    <Panel title="Needs attention">
      <ErrorNote error={error} />
      {lost > 0 && (
        <p class="note warn gap-note">
          Up to {lost.toLocaleString("en")} events that came since you have last looked are no longer in the log: it
          keeps the newest (<code>store.event_log</code>).
        </p>
      )}
      {failing?.length === 0 && !lost && (
        <p class="all-well">
          <Icon name="check" />
          {isOwner ? "No job is dead, and none is failing." : "None of your jobs is dead or failing."}
        </p>
      )}
      {failing && failing.length > 0 && (
        <ul class="failing">
          {failing.map((one) => (
            <Row key={`${one.provider}/${one.name}`} {...one} />
          ))}
        </ul>
      )}
      {isMore && <p class="hint">There are more: this counts the newest of each kind.</p>}
    </Panel>
  );
}

function Row({ name, provider, dead, retrying, job }: Failing) {
  const status = dead > 0 ? "dead" : "failed";
  const list = provider ? href("deliveries", [], { provider, status }) : href("jobs", [], { status, name });
  const script = name ?? (provider ? `on_${provider}` : undefined);
  const { line, column, message = "" } = job.error ?? {};
  const place = line ? { line: String(line), column: column ? String(column) : undefined } : {};
  return (
    <li>
      <div class="failing-head">
        <a href={list} class="grow">
          {provider && <span class="muted">Deliveries of </span>}
          <Text value={provider ?? name ?? "Jobs without a name"} />
        </a>
        {dead > 0 && <Status value={`${dead} dead`} tone="danger" />}
        {retrying > 0 && <Status value={`${retrying} will be tried again`} tone="warn" />}
      </div>
      <div class="failing-why">
        <Text value={message} />
      </div>
      <div class="row hint">
        <Time at={job.ended_at ?? job.submitted_at} />
        <a href={href(provider ? "deliveries" : "jobs", [job.job_id])}>The newest</a>
        {script && <a href={href("scripts", [script], place)}>Its script</a>}
      </div>
    </li>
  );
}
