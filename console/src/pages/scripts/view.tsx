/** A script that is open: its parts as tabs, and what is common to them. */

import { useEffect, useMemo } from "preact/hooks";
import { href, route, setQuery } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Status } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { Empty } from "../../ui/empty.js";
import { ErrorNote } from "../../ui/error.js";
import { Page } from "../../ui/panel.js";
import { Text } from "../../ui/text.js";
import { toast, toastError } from "../../ui/toast.js";
import { useChanges } from "../../ui/use-live.js";
import { Conflict, Outdated } from "./conflict.js";
import { Edit } from "./edit.js";
import { OpenScript } from "./open-script.js";
import { BackToJob } from "./origin.js";
import { shortVersion } from "./parts.js";
import { Rule } from "./rule.js";
import { Versions } from "./versions.js";

export function ScriptView({ session, name }: { session: Session; name: string }) {
  const { circle } = session;
  const cannotManage = whyNot(session, "manage");
  const script = useMemo(() => new OpenScript(circle, name, !cannotManage), [circle, name, !cannotManage]);
  useEffect(() => {
    if (!cannotManage) void script.load();
    return () => script.check.close();
  }, [script]);
  useChanges(session, "circle.script", () => cannotManage || script.load());

  const newest = script.newest.value;
  const isDirty = script.isDirty.value;
  const tab = newest ? (route.value.query.get("tab") ?? "edit") : "edit";
  const save = async (how: () => Promise<string | undefined> = () => script.save()) => {
    if (cannotManage || !script.isDirty.peek()) return;
    try {
      const version = await how();
      if (!version) return;
      toast(`Saved as version ${shortVersion(version)}`);
      // A link to an older version is no longer what one works on.
      if (tab === "edit") setQuery({ line: undefined, column: undefined, version: undefined });
    } catch (error) {
      toastError(error);
    }
  };
  const title = (
    <>
      <a href={href("scripts")}>Scripts</a> <span class="crumb">/</span> <Text value={name} />
    </>
  );
  if (script.error.value && !script.isLoaded.value) {
    return (
      <Page title={title}>
        <ErrorNote error={script.error.value} />
      </Page>
    );
  }
  if (script.isLoaded.value && !newest && !isDirty && !script.isBegun.value) {
    const create = (
      <Button kind="primary" why={cannotManage} onClick={() => location.assign(href("scripts", ["-new"], { name }))}>
        Make it
      </Button>
    );
    return (
      <Page title={title}>
        <Empty title="There is no script of this name" action={create}>
          It may have been deleted.
        </Empty>
      </Page>
    );
  }
  const actions = (
    <>
      {script.isLoaded.value && (
        <Status
          value={isDirty ? (newest ? "unsaved changes" : "not saved yet") : "saved"}
          tone={isDirty ? "warn" : "muted"}
        />
      )}
      {newest && isDirty && (
        <Button kind="quiet" onClick={() => script.discard()}>
          Discard
        </Button>
      )}
      <Button kind="primary" why={cannotManage} disabled={!isDirty} busy={script.isSaving.value} onClick={() => save()}>
        Save
      </Button>
    </>
  );
  const reload = () => script.load();
  return (
    <Page title={title} actions={actions} fill={tab === "edit"}>
      {newest && <Tabs name={name} tab={tab} count={newest.versions.length} />}
      <BackToJob />
      {script.isOutdated.value && newest && <Outdated script={script} newest={newest} me={session.me.pubkey} />}
      {tab === "versions" && newest ? (
        <Versions
          session={session}
          script={newest}
          unsaved={isDirty ? script.text.value : undefined}
          onChanged={reload}
        />
      ) : tab === "rule" && newest ? (
        <Rule key={newest.call ?? "auto"} session={session} script={newest} onChanged={reload} />
      ) : (
        <Edit session={session} script={script} onSave={() => void save()} />
      )}
      {script.hasConflict.value && newest && (
        <Conflict
          script={script}
          newest={newest}
          me={session.me.pubkey}
          onOverwrite={() => save(() => script.overwrite())}
        />
      )}
    </Page>
  );
}

function Tabs({ name, tab, count }: { name: string; tab: string; count: number }) {
  const tabs = [
    { id: undefined, label: "Edit and run" },
    { id: "versions", label: `Versions (${count})` },
    { id: "rule", label: "Rule and deletion" },
  ];
  return (
    <nav class="tabs script-tabs" aria-label="Parts of the script">
      {tabs.map(({ id, label }) => (
        <a
          key={label}
          href={href("scripts", [name], { tab: id, from: route.value.query.get("from") ?? undefined })}
          aria-current={tab === (id ?? "edit") ? "page" : undefined}
        >
          {label}
        </a>
      ))}
    </nav>
  );
}
