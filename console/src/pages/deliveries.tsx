/** The deliveries of the circle: what came by webhook. */

import "./jobs.css";
import type { Job, JobStatus } from "@circled/client";
import { useRef, useState } from "preact/hooks";
import { isLocked, UnlockButton } from "../frame/account.js";
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
import { DeliveryDetail } from "./deliveries/detail.js";
import { RedeliverAll } from "./deliveries/redeliver-all.js";
import { ChooseUrl } from "./deliveries/setup.js";
import { TestWebhook } from "./deliveries/test.js";
import { isDelivery, JobBadge, jobOf, providerOf, STATUSES, statusOf } from "./jobs/job.js";
import { type JobList, useJobList } from "./jobs/list.js";
import { ListNote } from "./jobs/note.js";
import { useScriptNames } from "./jobs/script-names.js";

interface Chosen {
  readonly provider: string | undefined;
  readonly status: JobStatus | undefined;
}

const FIRST = 100;
const NEXT = 500;

function useDeliveries(session: Session, { provider, status }: Chosen): JobList {
  const page = async (cursor: string | undefined, signal: AbortSignal) => {
    const filter = { ...(provider && { provider }), ...(status && { status }), ...(cursor && { cursor }) };
    const found = await session.circle.listDeliveries({ limit: cursor ? NEXT : FIRST, ...filter }, { signal });
    return { jobs: found.deliveries.map((delivery) => jobOf(session.pk, delivery)), cursor: found.cursor };
  };
  const manage = may(session, "manage").ok;
  return useJobList(session.circle, JSON.stringify([provider, status, manage, isLive(session)]), () => ({
    ...(manage && { deliveries: page }),
    wants: (job: Job) =>
      isDelivery(job) && (!provider || providerOf(job) === provider) && (!status || job.status === status),
    isLive: isLive(session),
  }));
}

/** The events of deliveries are for the owner alone. */
function isLive(session: Session): boolean {
  return may(session, "subscribe").ok && may(session, "owner").ok;
}

/** The page of deliveries: `#/<circle>/deliveries/<job>?provider=&status=`; `deliveries/test/<preset>` sends a test. */
export function DeliveriesPage({ session }: { session: Session }) {
  const { rest, query } = route.value;
  const chosen: Chosen = { provider: query.get("provider") ?? undefined, status: statusOf(query.get("status")) };
  const list = useDeliveries(session, chosen);
  const [isRedelivering, setRedelivering] = useState(false);
  const manage = may(session, "manage");
  const opened = rest[0];
  const rows = list.rows.value;
  const kept = Object.fromEntries(query);
  const onNew = () => isLive(session) || void list.reload();
  const detail =
    opened === "test" ? (
      <TestWebhook session={session} onSent={onNew} />
    ) : (
      opened && (
        <DeliveryDetail
          key={opened}
          session={session}
          id={opened}
          listed={rows.find(({ job_id }) => job_id === opened)}
          rows={rows}
          onChange={(job) => list.put([job])}
          onRedelivered={onNew}
        />
      )
    );
  return (
    <Page
      title="Deliveries"
      fill
      actions={
        <>
          <Button onClick={() => setRedelivering(true)} why={whyNot(session, "manage")}>
            Redeliver all…
          </Button>
          <Button kind="primary" onClick={() => navigate("deliveries", ["test"], kept)}>
            Send a test webhook
          </Button>
        </>
      }
    >
      {manage.ok && <Filters key={session.pk} session={session} chosen={chosen} rows={rows} />}
      <Split
        onClose={() => navigate("deliveries", [], kept)}
        list={
          manage.ok ? (
            <>
              <VirtualTable<Job>
                label="Deliveries"
                rows={rows}
                rowKey={({ job_id }) => job_id}
                columns={opened ? BESIDE : COLUMNS}
                onOpen={({ job_id }) => navigate("deliveries", [job_id], kept)}
                selected={opened}
                onEnd={() => void list.more()}
                empty={<NoDeliveries session={session} list={list} chosen={chosen} isTesting={opened === "test"} />}
              />
              <ListNote
                noun="delivery"
                session={session}
                list={list}
                stale={may(session, "owner").ok ? undefined : "only the owner is told of deliveries."}
              />
            </>
          ) : (
            <div class="table-empty">
              <Empty
                title="Deliveries are for those who may manage"
                action={isLocked(session) && <UnlockButton session={session} />}
              >
                <p>{manage.why}.</p>
                <p>You can still give a provider this address, and send a test webhook if you know the secret:</p>
                <ChooseUrl session={session} />
              </Empty>
            </div>
          )
        }
        detail={detail}
      />
      {isRedelivering && (
        <RedeliverAll circle={session.circle} filter={chosen} onClose={() => setRedelivering(false)} />
      )}
    </Page>
  );
}

const COLUMNS = [
  { title: "Status", width: "96px", cell: (job: Job) => <JobBadge status={job.status} /> },
  { title: "Provider", width: "88px", hideNarrow: true, cell: (job: Job) => <Text value={providerOf(job)} /> },
  {
    title: "Type",
    cell: (job: Job) => (job.event_type ? <Text value={job.event_type} /> : <span class="muted">none</span>),
  },
  {
    title: "Event",
    hideNarrow: true,
    cell: (job: Job) => <span class="muted mono">{job.event_id && <Text value={job.event_id} />}</span>,
  },
  { title: "Tries", width: "40px", align: "end" as const, hideNarrow: true, cell: (job: Job) => String(job.tries) },
  { title: "Received", width: "72px", align: "end" as const, cell: (job: Job) => <Time at={job.submitted_at} /> },
];

/** The columns beside an open delivery. */
const BESIDE = COLUMNS.filter(({ title }) => title !== "Event" && title !== "Tries");

function Filters({ session, chosen, rows }: { session: Session; chosen: Chosen; rows: readonly Job[] }) {
  // Those that have come, also before the list was filtered, and those that the circle has a script for.
  const known = useRef(new Set<string>()).current;
  for (const job of rows.slice(0, 1000)) known.add(providerOf(job));
  for (const name of useScriptNames(session)) if (name.startsWith("on_")) known.add(name.slice(3));
  if (chosen.provider) known.add(chosen.provider);
  return (
    <div class="toolbar" role="search" aria-label="Deliveries">
      <Select
        label="Provider"
        value={chosen.provider ?? ""}
        onInput={(provider) => setQuery({ provider })}
        options={[{ value: "", label: "Every provider" }, ...[...known].sort()]}
      />
      <Select<string>
        label="Status"
        value={chosen.status ?? ""}
        onInput={(status) => setQuery({ status })}
        options={[{ value: "", label: "Every status" }, ...STATUSES]}
      />
    </div>
  );
}

interface NoneProps {
  session: Session;
  list: JobList;
  chosen: Chosen;
  isTesting: boolean;
}

function NoDeliveries({ session, list, chosen, isTesting }: NoneProps) {
  const { isLoading, error } = list.state.value;
  if (error) return <ErrorNote error={error} />;
  if (isLoading) return <p class="muted">Loading…</p>;
  if (chosen.status) {
    return (
      <Empty title="No delivery fits the filter">
        <a href={href("deliveries")}>Show all deliveries</a>
      </Empty>
    );
  }
  if (isTesting) {
    return (
      <Empty title="Nothing has come yet">
        <p>What you send appears here.</p>
      </Empty>
    );
  }
  return (
    <Empty
      title={chosen.provider ? `Nothing has come from ${chosen.provider} yet` : "Nothing has come by webhook yet"}
      action={
        <Button kind="primary" onClick={() => navigate("deliveries", ["test"], { ...chosen })}>
          Send a test webhook
        </Button>
      }
    >
      <p>Give a provider this address, and the server its secret. Or try it first, from here.</p>
      <ChooseUrl key={chosen.provider} session={session} chosen={chosen.provider} />
    </Empty>
  );
}
