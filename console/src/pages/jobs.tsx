/** The durable jobs of the circle. */

import "./jobs.css";
import type { Job, JobKind, JobStatus } from "@circled/client";
import { useState } from "preact/hooks";
import { href, navigate, route, setQuery } from "../router.js";
import { may, type Session, whyNot } from "../session.js";
import { Button } from "../ui/button.js";
import { Empty } from "../ui/empty.js";
import { ErrorNote } from "../ui/error.js";
import { Select } from "../ui/field.js";
import { Page, Split } from "../ui/panel.js";
import { VirtualTable } from "../ui/table.js";
import { Text } from "../ui/text.js";
import { Time } from "../ui/time.js";
import { JobDetail } from "./jobs/detail.js";
import { isDelivery, JobBadge, providerOf, STATUSES, statusOf } from "./jobs/job.js";
import { type JobList, useJobList } from "./jobs/list.js";
import { ListNote } from "./jobs/note.js";
import { RetryDead } from "./jobs/retry-dead.js";
import { useScriptNames } from "./jobs/script-names.js";
import { SubmitJob } from "./jobs/submit.js";

/** What the address chooses. */
interface Chosen {
  readonly kind: JobKind | undefined;
  readonly status: JobStatus | undefined;
  readonly name: string | undefined;
}

const FIRST = 100;
const NEXT = 500;

function useJobs(session: Session, { kind, status, name }: Chosen): JobList {
  const isOwner = may(session, "owner").ok;
  const isLive = may(session, "subscribe").ok;
  const page = (kind: JobKind) => (cursor: string | undefined, signal: AbortSignal) =>
    session.circle.listJobs(
      {
        kind,
        limit: cursor ? NEXT : FIRST,
        ...(cursor && { cursor }),
        ...(status && { status }),
        ...(name && { name }),
      },
      { signal },
    );
  return useJobList(session.circle, JSON.stringify([kind, status, name, isOwner, isLive]), () => ({
    ...(kind !== "delivery" && { submitted: page("submitted") }),
    ...(kind !== "submitted" && isOwner && { deliveries: page("delivery") }),
    wants: (job: Job) =>
      (!kind || isDelivery(job) === (kind === "delivery")) &&
      (!status || job.status === status) &&
      (!name || job.name === name),
    isLive,
  }));
}

/** The page of jobs: `#/<circle>/jobs/<job>?status=&kind=&name=`; `jobs/new` submits one. */
export function JobsPage({ session }: { session: Session }) {
  const { rest, query } = route.value;
  const kindText = query.get("kind");
  const chosen: Chosen = {
    kind: kindText === "submitted" || kindText === "delivery" ? kindText : undefined,
    status: statusOf(query.get("status")),
    name: query.get("name") ?? undefined,
  };
  const list = useJobs(session, chosen);
  const [isRetrying, setRetrying] = useState(false);
  const opened = rest[0];
  const rows = list.rows.value;
  const kept = Object.fromEntries(query);
  return (
    <Page
      title="Jobs"
      fill
      actions={
        <>
          <Button onClick={() => setRetrying(true)} why={whyNot(session, "owner")}>
            Retry all dead…
          </Button>
          <Button
            kind="primary"
            onClick={() => navigate("jobs", ["new"], kept)}
            why={whyNot(session, "play") && whyNot(session, "call")}
          >
            Submit a job
          </Button>
        </>
      }
    >
      <Filters session={session} chosen={chosen} />
      <Split
        onClose={() => navigate("jobs", [], kept)}
        list={
          <>
            <VirtualTable<Job>
              label="Jobs"
              rows={rows}
              rowKey={({ job_id }) => job_id}
              columns={opened ? BESIDE : COLUMNS}
              onOpen={({ job_id }) => navigate("jobs", [job_id], kept)}
              selected={opened}
              onEnd={() => void list.more()}
              empty={<NoJobs session={session} list={list} chosen={chosen} />}
            />
            <ListNote noun="job" session={session} list={list} />
          </>
        }
        detail={
          opened === "new" ? (
            <SubmitJob session={session} />
          ) : (
            opened && (
              <JobDetail
                key={opened}
                session={session}
                id={opened}
                listed={rows.find(({ job_id }) => job_id === opened)}
                onChange={(job) => list.put([job])}
              />
            )
          )
        }
      />
      {isRetrying && <RetryDead session={session} dead={chosen} onClose={() => setRetrying(false)} />}
    </Page>
  );
}

const COLUMNS = [
  { title: "Status", width: "96px", cell: (job: Job) => <JobBadge status={job.status} /> },
  { title: "Script", cell: (job: Job) => <Script job={job} /> },
  { title: "Details", width: "minmax(0, 2fr)", hideNarrow: true, cell: (job: Job) => <Says job={job} /> },
  { title: "Tries", width: "40px", align: "end" as const, hideNarrow: true, cell: (job: Job) => String(job.tries) },
  { title: "Submitted", width: "72px", align: "end" as const, cell: (job: Job) => <Time at={job.submitted_at} /> },
];

/** The columns beside an open job. */
const BESIDE = COLUMNS.filter(({ title }) => title !== "Tries");

/** What a job runs: a script by its name, or a source of its own; for a delivery, who has sent it. */
function Script({ job }: { job: Job }) {
  if (job.name) return <Text value={job.name} />;
  return <span class="muted">{isDelivery(job) ? <Text value={providerOf(job)} /> : "unnamed"}</span>;
}

/** The one thing about a job that one wants to know first. */
function Says({ job }: { job: Job }) {
  const { status, error, due } = job;
  if (error && (status === "dead" || status === "failed")) return <Text value={error.message} />;
  const isLater = status === "pending" && due && Date.parse(due) > Date.now() + 1000;
  return (
    <span class="muted">
      {isLater ? (
        <>
          runs <Time at={due} />
        </>
      ) : (
        job.event_type && <Text value={job.event_type} />
      )}
    </span>
  );
}

function Filters({ session, chosen }: { session: Session; chosen: Chosen }) {
  const isOwner = may(session, "owner").ok;
  const scripts = useScriptNames(session);
  const names = new Set(chosen.name ? [...scripts, chosen.name] : scripts);
  return (
    <div class="toolbar" role="search" aria-label="Jobs">
      <Select<string>
        label="Status"
        value={chosen.status ?? ""}
        onInput={(status) => setQuery({ status })}
        options={[{ value: "", label: "Every status" }, ...STATUSES]}
      />
      {isOwner && (
        <Select<string>
          label="Kind"
          value={chosen.kind ?? ""}
          onInput={(kind) => setQuery({ kind })}
          options={[
            { value: "", label: "Every kind" },
            { value: "submitted", label: "Submitted" },
            { value: "delivery", label: "Deliveries" },
          ]}
        />
      )}
      <Select<string>
        label="Script"
        value={chosen.name ?? ""}
        onInput={(name) => setQuery({ name })}
        options={[{ value: "", label: "Every script" }, ...[...names].sort()]}
      />
    </div>
  );
}

function NoJobs({ session, list, chosen }: { session: Session; list: JobList; chosen: Chosen }) {
  const { isLoading, error } = list.state.value;
  if (error) return <ErrorNote error={error} />;
  if (isLoading) return <p class="muted">Loading…</p>;
  if (chosen.kind || chosen.status || chosen.name) {
    return (
      <Empty title="No job fits the filter">
        <a href={href("jobs")}>Show all jobs</a>
      </Empty>
    );
  }
  const whose = may(session, "owner").ok ? "in this circle" : "of yours";
  return (
    <Empty
      title={`There is no job ${whose} yet`}
      action={
        <Button kind="primary" onClick={() => navigate("jobs", ["new"])}>
          Submit a job
        </Button>
      }
    >
      <p>
        A durable job is kept until its script has run, even if you leave. Submit one here, or from the command line:
      </p>
      <pre>{`circled jobs submit ${session.wsUrl} --key me.key 'print("hello")'`}</pre>
    </Empty>
  );
}
