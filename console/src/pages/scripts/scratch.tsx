/** The scratch pad: a script that is played, and not kept by the circle. */

import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import type { Editor, Mark } from "../../editor/main.js";
import { href, navigate } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Page } from "../../ui/panel.js";
import { CodeEditor } from "./code-editor.js";
import { draftOf, keepDraft, SCRATCH } from "./drafts.js";
import { CheckNote, Shortcuts, useShortcuts } from "./parts.js";
import { Run } from "./run.js";

const FIRST = `// Played as you, in this circle; not kept. ARGS is on the right.
#{ caller: CALLER_ID, role: CALLER_ROLE, keys: store.count("") }
`;

export function Scratch({ session }: { session: Session }) {
  const { pk } = session;
  const text = useSignal(useMemo(() => draftOf(pk, SCRATCH)?.text ?? FIRST, [pk]));
  const mark = useSignal<Mark | undefined>(undefined);
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
  const marks = useMemo(() => (mark.value ? [mark.value] : []), [mark.value]);
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
              mark.value = undefined;
              keepDraft(pk, SCRATCH, { text: typed });
            }}
          />
          <footer class="code-foot">
            <CheckNote
              check={mark.value ? "bad" : "none"}
              mark={mark.value}
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
            onFault={(fault) => {
              mark.value = fault;
            }}
            onJump={(line, column) => editor.current?.jump(line, column)}
            run={run}
          />
        </div>
      </div>
    </Page>
  );
}
