/** Somebody else has put another version while a text was changed: both are shown, and one is chosen. */

import type { Script } from "@circled/client";
import { Button } from "../../ui/button.js";
import { Dialog } from "../../ui/dialog.js";
import { Time } from "../../ui/time.js";
import { Compare } from "./code-editor.js";
import type { OpenScript } from "./open-script.js";
import { By, Version } from "./parts.js";

interface Props {
  readonly script: OpenScript;
  readonly newest: Script;
  readonly me: string | null | undefined;
}

/** Says that the text began with a version that isn't the newest any more. */
export function Outdated({ script, newest, me }: Props) {
  return (
    <div class="note warn script-note" role="status">
      <span>
        A newer version <Version version={newest.version} /> was put <Time at={newest.put_at} /> by{" "}
        <By pubkey={newest.put_by} me={me} />. Your text began with {script.base.value ? "an older one" : "none"}.
      </span>
      <Button
        small
        onClick={() => {
          script.hasConflict.value = true;
        }}
      >
        See both
      </Button>
    </div>
  );
}

/** Shows the newest version and the text, and has one of them chosen. */
export function Conflict({ script, newest, me, onOverwrite }: Props & { onOverwrite: () => void }) {
  const close = () => {
    script.hasConflict.value = false;
  };
  return (
    <Dialog title="Two versions" onClose={close} wide>
      <div class="stack">
        <p>
          While you were editing, version <Version version={newest.version} /> was put <Time at={newest.put_at} /> by{" "}
          <By pubkey={newest.put_by} me={me} />. Nothing of yours is saved yet. If you save yours, theirs stays among
          the versions.
        </p>
        <Compare before={newest.source} after={script.text.value} labels={["the newest version", "your text"]} />
        <div class="row end">
          <Button onClick={close}>Go on editing</Button>
          <Button kind="danger" onClick={() => script.discard()}>
            Take the newest, drop mine
          </Button>
          <Button kind="primary" onClick={onOverwrite}>
            Save mine over it
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
