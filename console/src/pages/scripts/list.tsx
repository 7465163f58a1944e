/** The list of scripts. */

import type { ScriptEntry } from "@circled/client";
import { href, navigate, route, setQuery } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Status } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { Empty } from "../../ui/empty.js";
import { ErrorNote } from "../../ui/error.js";
import { SearchInput } from "../../ui/field.js";
import { Page } from "../../ui/panel.js";
import { VirtualTable } from "../../ui/table.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";
import { useLive } from "../../ui/use-live.js";
import { draftNames } from "./drafts.js";
import { By, Version } from "./parts.js";
import { ruleOf } from "./rule.js";

/** A script of the circle, or only a text in this browser. */
type Row = { readonly name: string; readonly entry: ScriptEntry | undefined; readonly isUnsaved: boolean };

export function ScriptList({ session }: { session: Session }) {
  const { circle, pk } = session;
  const search = route.value.query.get("q") ?? "";
  const cannotCall = whyNot(session, "call");
  const { value, error } = useLive(
    session,
    "circle.script",
    async () => (cannotCall ? [] : (await circle.listScripts()).scripts),
    [circle, cannotCall],
  );
  const unsaved = draftNames(pk);
  const rows = rowsOf(value ?? [], unsaved).filter(({ name }) => name.toLowerCase().includes(search.toLowerCase()));
  const cannotManage = whyNot(session, "manage");
  const create = (
    <Button kind="primary" why={cannotManage} onClick={() => navigate("scripts", ["-new"])}>
      New script
    </Button>
  );
  const play = (
    <Button why={whyNot(session, "play")} onClick={() => navigate("scripts", ["-scratch"])}>
      Scratch pad
    </Button>
  );
  const actions = (
    <>
      {play}
      {create}
    </>
  );
  if (cannotCall && !rows.length && !search) {
    return (
      <Page title="Scripts" actions={actions}>
        <Empty title="You can't see the scripts of this circle">{cannotCall}.</Empty>
      </Page>
    );
  }
  if (value?.length === 0 && rows.length === 0 && !search) {
    return (
      <Page title="Scripts">
        <Empty title="No scripts yet" action={actions}>
          <p>A script has a name, and callers run it by that name. Each run is a transaction on the circle's store.</p>
          {cannotManage ? (
            <p>{cannotManage}. Once the owner has put one, it is here.</p>
          ) : (
            <>
              <p>Begin with a template, or put a file:</p>
              <pre>circled script put {session.wsUrl} hello hello.rhai --key circle.key</pre>
            </>
          )}
        </Empty>
      </Page>
    );
  }
  return (
    <Page title="Scripts" actions={actions} fill>
      <div class="toolbar">
        <SearchInput value={search} onInput={(q) => setQuery({ q: q || undefined })} placeholder="Search scripts" />
      </div>
      <ErrorNote error={error} />
      {!value && rows.length > 0 && (
        <p class="muted" role="status">
          These are only the texts that aren't saved: the circle's scripts{" "}
          {error ? "couldn't be loaded" : "are loading…"}
        </p>
      )}
      <VirtualTable<Row>
        label="Scripts"
        rows={rows}
        rowKey={({ name }) => name}
        onOpen={({ name }) => navigate("scripts", [name])}
        empty={
          value ? `No script has “${search}” in its name.` : error ? "The scripts couldn't be loaded." : "Loading…"
        }
        columns={[
          {
            title: "Name",
            cell: ({ name, isUnsaved }) => (
              <span class="row">
                <a href={href("scripts", [name])} class="script-name">
                  <Text value={name} />
                </a>
                {isUnsaved && <Status value="unsaved" tone="warn" />}
              </span>
            ),
          },
          {
            title: "Version",
            width: "88px",
            hideNarrow: true,
            cell: ({ entry }) => entry && <Version version={entry.version} />,
          },
          { title: "Put", width: "96px", cell: ({ entry }) => entry && <Time at={entry.put_at} /> },
          {
            title: "By",
            width: "160px",
            hideNarrow: true,
            cell: ({ entry }) => entry && <By pubkey={entry.put_by} me={session.me.pubkey} />,
          },
          {
            title: "Who may call",
            width: "144px",
            hideNarrow: true,
            cell: ({ entry }) => entry && ruleOf(entry.call),
          },
        ]}
      />
    </Page>
  );
}

function rowsOf(entries: readonly ScriptEntry[], unsaved: readonly string[]): Row[] {
  const names = new Set(entries.map(({ name }) => name));
  const own = unsaved.filter((name) => !names.has(name) && !name.startsWith("-"));
  return [
    ...own.map((name) => ({ name, entry: undefined, isUnsaved: true })),
    ...entries.map((entry) => ({ name: entry.name, entry, isUnsaved: unsaved.includes(entry.name) })),
  ];
}
