import { useState } from "preact/hooks";
import { route, setQuery } from "../../router.js";
import { may, type Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Empty } from "../../ui/empty.js";
import { Field, Select, TextArea, TextInput } from "../../ui/field.js";
import { useLive } from "../../ui/use-live.js";
import { wrong } from "../store/text.js";
import { type LiveQuery, MOST_QUERIES, readQueries, writeQueries } from "./queries.js";
import { QueryCard } from "./query-card.js";

const EXAMPLE: LiveQuery = { script: 'store.count("")' };

/** The queries that are watched, and a form for one more. */
export function QueriesTab({ session }: { session: Session }) {
  const text = route.value.query.get("w");
  const queries = readQueries(text);
  const change = (queries: readonly LiveQuery[]) => setQuery({ w: writeQueries(queries) });
  const mayPlay = may(session, "play");
  const why = mayPlay.ok ? undefined : mayPlay.why;
  return (
    <div class="live-queries">
      <QueryForm
        session={session}
        isFull={queries.length >= MOST_QUERIES}
        onAdd={(query) => change([query, ...queries])}
      />
      {queries.length === 0 && (
        <Empty
          title="Nothing is watched yet"
          action={
            <Button onClick={() => change([EXAMPLE])} why={why}>
              Watch how many keys there are
            </Button>
          }
        >
          Watch a script that only reads: its value is shown here, and again whenever a commit changes it.
        </Empty>
      )}
      <div class="live-cards">
        {queries.map((query, n) => (
          <Kept
            key={JSON.stringify(query)}
            session={session}
            query={query}
            onStop={() => change(queries.toSpliced(n, 1))}
          />
        ))}
      </div>
    </div>
  );
}

/** A card whose query stays the same object while the address changes. */
function Kept({ session, query, onStop }: { session: Session; query: LiveQuery; onStop: () => void }) {
  const [same] = useState(query);
  return <QueryCard session={session} query={same} onStop={onStop} />;
}

interface QueryFormProps {
  readonly session: Session;
  readonly isFull: boolean;
  readonly onAdd: (query: LiveQuery) => void;
}

function QueryForm({ session, isFull, onAdd }: QueryFormProps) {
  const [mayPlay, mayCall] = [may(session, "play"), may(session, "call")];
  const [kind, setKind] = useState<"script" | "name">(mayPlay.ok || !mayCall.ok ? "script" : "name");
  const [script, setScript] = useState("");
  const [name, setName] = useState("");
  const [args, setArgs] = useState("");
  const { value: names, error } = useLive(
    session,
    "circle.script",
    async () => (mayCall.ok ? (await session.circle.listScripts()).scripts.map((one) => one.name) : []),
    [session.circle, mayCall.ok],
  );
  const isLoading = !names && !error;
  const permitted = kind === "script" ? mayPlay : mayCall;
  const fault = args.trim() ? wrong(args) : undefined;
  const what = kind === "script" ? script.trim() : name.trim();
  const full = isFull ? `${MOST_QUERIES} queries are watched already: stop one first` : undefined;
  return (
    <form
      class="panel live-form"
      aria-label="Watch a query"
      onSubmit={(event) => {
        event.preventDefault();
        if (!what || fault || full || !permitted.ok) return;
        onAdd({ ...(kind === "script" ? { script } : { name: what }), ...(args.trim() ? { args: args.trim() } : {}) });
      }}
    >
      <Field label="Watch">
        <Select
          value={kind}
          onInput={setKind}
          options={[
            { value: "script", label: "a source" },
            { value: "name", label: "a named script" },
          ]}
        />
      </Field>
      {kind === "script" ? (
        <Field label="Source, in Rhai">
          <TextArea value={script} onInput={setScript} rows={2} placeholder='store.get("visits") ?? 0' mono />
        </Field>
      ) : isLoading || (names && names.length > 0) ? (
        <Field label="Name">
          <Select
            value={name}
            onInput={setName}
            disabled={isLoading}
            options={[{ value: "", label: isLoading ? "Loading…" : "Choose a script" }, ...(names ?? [])]}
          />
        </Field>
      ) : (
        <Field label="Name">
          <TextInput value={name} onInput={setName} placeholder="visits" mono />
        </Field>
      )}
      <Field label="ARGS, as JSON" error={fault}>
        <TextInput value={args} onInput={setArgs} placeholder="none" mono />
      </Field>
      <Button kind="primary" type="submit" disabled={!what || Boolean(fault)} why={permitted.ok ? full : permitted.why}>
        Watch
      </Button>
    </form>
  );
}
