/** The payload of a delivery, which is fetched when somebody asks for it. */

import type { Json } from "@circled/client";
import { useState } from "preact/hooks";
import { type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { download } from "../../ui/download.js";
import { ErrorNote } from "../../ui/error.js";
import { Icon } from "../../ui/icon.js";
import { formatJson, JsonView } from "../../ui/json.js";
import { Panel } from "../../ui/panel.js";
import { visible } from "../../ui/text.js";

interface Fetched {
  readonly payload: Json;
  readonly text: string;
}

export function Payload({ session, id }: { session: Session; id: string }) {
  const [fetched, setFetched] = useState<Fetched>();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const [isRaw, setRaw] = useState(false);
  const get = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const { payload } = await session.circle.getDelivery({ job_id: id });
      setFetched({ payload, text: formatJson(payload) });
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };
  if (!fetched) {
    return (
      <Panel title="Payload">
        <div class="stack tight">
          <p class="muted">It may have personal data in it, so it is fetched only if you ask.</p>
          {Boolean(error) && <ErrorNote error={error} />}
          <div>
            <Button onClick={get} busy={busy} why={whyNot(session, "owner")}>
              Show the payload
            </Button>
          </div>
        </div>
      </Panel>
    );
  }
  const { payload, text } = fetched;
  return (
    <Panel
      title={`Payload (${sizeOf(text.length)})`}
      actions={
        <>
          <Button small pressed={!isRaw} onClick={() => setRaw(false)}>
            Tree
          </Button>
          <Button small pressed={isRaw} onClick={() => setRaw(true)}>
            Raw
          </Button>
          <Button
            small
            kind="quiet"
            class="icon-only"
            label="Download the payload"
            onClick={() => download(text, `${id}.json`, "application/json")}
          >
            <Icon name="download" />
          </Button>
          <CopyButton text={text} label="Copy the payload" />
        </>
      }
    >
      {isRaw ? <Raw text={text} /> : <JsonView value={payload} depth={text.length < SMALL ? 6 : 2} />}
    </Panel>
  );
}

function sizeOf(length: number): string {
  if (length < 1024) return `${length} characters`;
  const kib = length / 1024;
  return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** A payload up to so many characters is opened wholly. */
const SMALL = 20_000;
/** About so many characters are laid out at a time. */
const BLOCK = 8192;

/** A long text in blocks, of which the browser lays out only those that are seen. */
export function Raw({ text }: { text: string }) {
  const blocks: string[] = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf("\n", at + BLOCK);
    // A line that is long itself is cut.
    const next = end < 0 || end > at + 2 * BLOCK ? cut(text, Math.min(text.length, at + 2 * BLOCK)) : end + 1;
    blocks.push(text.slice(at, next).replace(/\n$/, ""));
    at = next;
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
    <div class="raw" tabIndex={0} role="region" aria-label="The payload as JSON">
      {blocks.map((block, n) => (
        <pre key={n}>{visible(block, true)}</pre>
      ))}
    </div>
  );
}

/** Returns a place to cut a text at that is not within a character. */
function cut(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return at < text.length && code >= 0xd800 && code < 0xdc00 ? at - 1 : at;
}
