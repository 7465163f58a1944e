/** The editor of a script, and beside it what runs it. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Editor, Mark } from "../../editor/main.js";
import { isLocked, UnlockButton } from "../../frame/account.js";
import { href, route } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Empty } from "../../ui/empty.js";
import { Text } from "../../ui/text.js";
import { CodeEditor } from "./code-editor.js";
import type { OpenScript } from "./open-script.js";
import { useRunError } from "./origin.js";
import { CheckNote, Shortcuts, shortVersion, useShortcuts } from "./parts.js";
import { Run, type Runnable } from "./run.js";

interface Props {
  readonly session: Session;
  readonly script: OpenScript;
  readonly onSave: () => void;
}

export function Edit({ session, script, onSave }: Props) {
  const { query } = route.value;
  const cannotManage = whyNot(session, "manage");
  const editor = useRef<Editor>(undefined);
  const run = useRef<(() => void) | undefined>(undefined);
  useShortcuts({ save: onSave, run: () => run.current?.() });
  /** Where the last run has failed. The next change of the text removes it. */
  const fault = useSignal<Mark | undefined>(undefined);
  const newest = script.newest.value;
  const version = query.get("version") ?? undefined;
  const isOld = version !== undefined && newest !== undefined && !newest.version.startsWith(version);
  const runError = useRunError(session);
  const place = { line: Number(query.get("line")), column: Number(query.get("column")) || undefined };

  const isAsLinked = Boolean(newest) && !script.hasChanged.value && !script.isDirty.value;
  const mark = script.check.mark.value ?? fault.value ?? (isAsLinked && !isOld ? runError : undefined);
  const marks = useMemo(() => (mark ? [mark] : []), [mark]);
  const jump = (line: number, column?: number) => editor.current?.jump(line, column);
  const show = () => {
    if (place.line > 0) jump(place.line, place.column);
  };
  useEffect(show, [place.line, place.column, script.isLoaded.value]);

  const provider = /^on_(.+)/.exec(script.name)?.[1];
  return (
    <div class="workbench">
      <div class="workbench-code">
        {cannotManage ? (
          <Empty
            title="Its source is not for you to see"
            action={isLocked(session) && <UnlockButton session={session} />}
          >
            {cannotManage}. You may run it, if its rule permits.
          </Empty>
        ) : (
          <>
            {isAsLinked && isOld && runError && (
              <p class="note script-note">
                Line {place.line} is that of version {shortVersion(version)}; this is a newer one.{" "}
                <a href={href("scripts", [script.name], { ...Object.fromEntries(query), tab: "versions" })}>
                  See the differences
                </a>
                <br />
                <Text value={runError.message} />
              </p>
            )}
            {script.isLoaded.value && (
              <CodeEditor
                label={`Source of ${script.name}`}
                text={script.text}
                marks={marks}
                onReady={(ready) => {
                  editor.current = ready;
                  show();
                }}
                onInput={(typed) => {
                  fault.value = undefined;
                  script.edit(typed);
                }}
              />
            )}
            <footer class="code-foot">
              <CheckNote check={script.check.state.value} mark={mark} onJump={(at) => jump(at.line, at.column)} />
              <Shortcuts save />
            </footer>
          </>
        )}
      </div>
      <div class="workbench-run">
        {provider && (
          <p class="note script-hook">
            It runs for webhooks of {provider}, which bring EVENT. Here EVENT is ().{" "}
            <a href={href("deliveries", ["test"], { provider })}>Send a test webhook</a>
          </p>
        )}
        <Run
          session={session}
          name={script.name}
          runnables={runnablesOf(script, Boolean(cannotManage))}
          preferred={
            script.isDirty.value
              ? "text"
              : (isAsLinked && isOld && newest?.versions.find((one) => one.version.startsWith(version))?.version) ||
                "newest"
          }
          onFault={(at) => {
            fault.value = at;
          }}
          onJump={jump}
          run={run}
        />
      </div>
    </div>
  );
}

/** Returns what can be run of a script: its newest version, the text in the editor, and older versions. */
function runnablesOf({ newest, text, isDirty }: OpenScript, isUnseen: boolean): Runnable[] {
  if (isUnseen) return [{ value: "newest", label: "The newest version" }];
  const [first, ...others] = newest.value?.versions ?? [];
  return [
    ...(isDirty.value ? [{ value: "text", label: "The text here, not saved", text: text.value, isShown: true }] : []),
    ...(first
      ? [{ value: "newest", label: `${shortVersion(first.version)}, the newest`, isShown: !isDirty.value }]
      : []),
    ...others.map(({ version }) => ({ value: version, label: `Version ${shortVersion(version)}`, version })),
  ];
}
