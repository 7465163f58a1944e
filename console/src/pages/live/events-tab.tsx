import { stringify } from "@circled/client/json";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { route, setQuery } from "../../router.js";
import { may, type Session } from "../../session.js";
import { Status } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { Empty } from "../../ui/empty.js";
import { ErrorNote } from "../../ui/error.js";
import { SearchInput, TextInput } from "../../ui/field.js";
import { Icon } from "../../ui/icon.js";
import { Split } from "../../ui/panel.js";
import { VirtualTable } from "../../ui/table.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";
import { Emit } from "./emit.js";
import { EventDetail } from "./event-detail.js";
import { EventLog, type Item, MOST_EVENTS } from "./event-log.js";

const EXAMPLE = 'emit("chat.new", #{ text: "hello" })';

/** Returns a number of an address or a field; undefined if it is none. */
function whole(text: string | null): number | undefined {
  return text && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** The events of the circle: filtered by topic, the newest first. */
export function EventsTab({ session }: { session: Session }) {
  const maySubscribe = may(session, "subscribe");
  if (!maySubscribe.ok) return <Empty title="You may not see events">{maySubscribe.why}.</Empty>;
  return <Events session={session} />;
}

function Events({ session }: { session: Session }) {
  const { query } = route.value;
  const topic = query.get("topic") ?? "";
  const since = whole(query.get("since"));
  const opened = whole(query.get("event"));
  const log = useLog(session, topic, since, opened);
  const [isEmitting, setEmitting] = useState(false);
  const mayPlay = may(session, "play");
  const items = log.items.value;
  const item = items.find((one) => "id" in one && one.id === opened);
  const isPaused = log.isPaused.value;
  const waiting = log.waiting.value;
  const emit = (
    <Button onClick={() => setEmitting(true)} why={mayPlay.ok ? undefined : mayPlay.why}>
      Emit an event
    </Button>
  );
  return (
    <>
      <div class="toolbar live-bar">
        <SearchInput value={topic} onInput={(topic) => setQuery({ topic })} placeholder="Topics that begin with…" />
        <div class="live-since">
          <span class="muted">after</span>
          <TextInput
            value={query.get("since") ?? ""}
            onInput={(since) => setQuery({ since: since.replace(/\D/g, "") })}
            placeholder="event id"
            label="After the event with this id"
            mono
          />
        </div>
        <Button onClick={() => log.pause(!isPaused)} pressed={isPaused}>
          <Icon name={isPaused ? "play" : "pause"} />
          {isPaused ? (waiting > 0 ? `Show ${waiting.toLocaleString("en")} new` : "Go on") : "Pause"}
        </Button>
        <Button kind="quiet" onClick={() => log.clear()} disabled={items.length === 0}>
          Clear
        </Button>
        <span class="grow" />
        {emit}
        {log.dropped.value > 0 && (
          <span class="muted">
            The newest {MOST_EVENTS.toLocaleString("en")}; {log.dropped.value.toLocaleString("en")} older ones are not
            shown
          </span>
        )}
      </div>
      <ErrorNote error={log.error.value} />
      <Split
        onClose={() => setQuery({ event: undefined })}
        list={
          <VirtualTable
            label="Events"
            rows={items as Item[]}
            rowKey={(one) => ("gap" in one ? `gap ${one.since}` : `event ${one.id}`)}
            selected={opened === undefined ? undefined : `event ${opened}`}
            onOpen={(one) => "id" in one && setQuery({ event: String(one.id) })}
            columns={[
              { title: "Id", width: "72px", cell: (one) => ("gap" in one ? <Icon name="warning" /> : one.id) },
              { title: "Topic", width: "minmax(0, 2fr)", cell: (one) => <Topic item={one} /> },
              { title: "Data", width: "minmax(0, 3fr)", cell: (one) => <Preview item={one} />, hideNarrow: true },
              {
                title: "When",
                width: "80px",
                align: "end",
                cell: (one) => ("gap" in one ? null : <Time at={one.at} />),
              },
            ]}
            empty={
              log.hasBegun.value ? (
                <Empty title={topic ? "No such events yet" : "No events yet"} action={emit}>
                  <p>
                    Scripts send them with <code>{EXAMPLE}</code>. They appear here at once.
                  </p>
                </Empty>
              ) : (
                <p class="muted">Connecting…</p>
              )
            }
          />
        }
        detail={
          opened !== undefined && (
            <EventDetail
              item={item && "id" in item ? item : undefined}
              id={opened}
              onClose={() => setQuery({ event: undefined })}
            />
          )
        }
      />
      {isEmitting && <Emit session={session} topic={topic} onClose={() => setEmitting(false)} />}
    </>
  );
}

/** The events of a topic; another log when what is wanted has changed, a moment after the last keystroke. */
function useLog({ circle }: Session, topic: string, since: number | undefined, opened: number | undefined): EventLog {
  const [wanted, setWanted] = useState({ topic, since });
  const isFirst = useRef(true);
  useEffect(() => {
    const timer = setTimeout(() => setWanted({ topic, since }), isFirst.current ? 0 : 250);
    isFirst.current = false;
    return () => clearTimeout(timer);
  }, [topic, since]);
  // A link to an event begins shortly before it.
  const [linked] = useState(opened);
  const from = wanted.since ?? (linked === undefined ? undefined : Math.max(0, linked - 1));
  const log = useMemo(() => new EventLog(circle, { topic: wanted.topic, since: from }), [circle, wanted.topic, from]);
  useEffect(() => () => log.close(), [log]);
  return log;
}

function Topic({ item }: { item: Item }) {
  if ("gap" in item) return <Status value={`Gap: events up to ${item.since} are gone`} tone="warn" />;
  return (
    <code>
      <Text value={item.topic} />
    </code>
  );
}

function Preview({ item }: { item: Item }) {
  if ("gap" in item) return <span class="muted">The server's log doesn't reach back that far</span>;
  return (
    <code class="muted">
      <Text value={stringify(item.data).slice(0, 200)} />
    </code>
  );
}
