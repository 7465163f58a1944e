/** The scratch pad: a script that is played, and not kept by the circle. */

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Editor, Mark } from "../../editor/main.js";
import { href, navigate } from "../../router.js";
import { may, type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Page } from "../../ui/panel.js";
import { Check } from "./check.js";
import { CodeEditor } from "./code-editor.js";
import { draftOf, keepDraft, SCRATCH } from "./drafts.js";
import { CheckNote, Shortcuts, useShortcuts } from "./parts.js";
import { Run } from "./run.js";

const FIRST = `// Played as you, in this circle; not kept. ARGS is on the right.
#{ caller: CALLER_ID, role: CALLER_ROLE, keys: store.count("") }
`;

export function Scratch({ session }: { session: Session }) {
  const { circle, pk } = session;
  const text = useSignal(useMemo(() => draftOf(pk, SCRATCH)?.text ?? FIRST, [pk]));
  /** Where the last run has failed. The next change of the text removes it. */
  const fault = useSignal<Mark | undefined>(undefined);
  const mayManage = may(session, "manage").ok;
  const check = useMemo(() => new Check(circle, mayManage), [circle, mayManage]);
  useEffect(() => {
    check.check(text.peek(), false);
    return () => check.close();
  }, [check]);
  const editor = useRef<Editor>(undefined);
  const run = useRef<(() => void) | undefined>(undefined);
  useShortcuts({ run: () => run.current?.() });
  const title = (
    <>
      <a href={href("scripts")}>Scripts</a> <span class="crumb">/</span> Scratch pad
    </>
  );
  const keep = (
    <Button why={whyNot(session, "manage")} onClick={() => navigate("scripts", ["-new"], { from: "scratch" })}>
      Keep as a script…
    </Button>
  );
  const mark = check.mark.value ?? fault.value;
  const marks = useMemo(() => (mark ? [mark] : []), [mark]);
  return (
    <Page title={title} actions={keep} fill>
      <div class="workbench">
        <div class="workbench-code">
          <CodeEditor
            label="Scratch pad"
            text={text}
            marks={marks}
            onReady={(ready) => {
              editor.current = ready;
              ready.focus();
            }}
            onInput={(typed) => {
              text.value = typed;
              fault.value = undefined;
              check.check(typed, true);
              keepDraft(pk, SCRATCH, { text: typed });
            }}
          />
          <footer class="code-foot">
            <CheckNote
              check={check.state.value}
              mark={mark}
              onJump={(at) => editor.current?.jump(at.line, at.column)}
            />
            <Shortcuts />
          </footer>
        </div>
        <div class="workbench-run">
          <Run
            session={session}
            runnables={[{ value: "text", label: "This text", text: text.value, isShown: true }]}
            preferred="text"
            onFault={(at) => {
              fault.value = at;
            }}
            onJump={(line, column) => editor.current?.jump(line, column)}
            run={run}
          />
        </div>
      </div>
    </Page>
  );
}
