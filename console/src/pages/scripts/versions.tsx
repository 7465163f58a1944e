/** The versions of a script, and their differences. */

import { ConflictError, type Script } from "@circled/client";
import { href, navigate, route, setQuery } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Badge } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { Empty } from "../../ui/empty.js";
import { ErrorNote } from "../../ui/error.js";
import { Select } from "../../ui/field.js";
import { Panel } from "../../ui/panel.js";
import { Time } from "../../ui/time.js";
import { toast, toastError } from "../../ui/toast.js";
import { useAsync } from "../../ui/use-query.js";
import { Compare } from "./code-editor.js";
import { By, shortVersion, Version } from "./parts.js";

interface Props {
  readonly session: Session;
  readonly script: Script;
  /** The text in the editor, if it isn't saved. */
  readonly unsaved: string | undefined;
  readonly onChanged: () => Promise<void>;
}

/** A text that can be compared. The one in the editor comes before the newest version, which has the index 0. */
interface Side {
  readonly value: string;
  readonly label: string;
  readonly index: number;
}

/** In the address, in place of a version: the text in the editor. */
const TEXT = "text";

export function Versions({ session, script, unsaved, onChanged }: Props) {
  const { versions } = script;
  const { query } = route.value;
  const sides: Side[] = versions.map(({ version }, index) => ({
    value: version,
    label: `${shortVersion(version)}${index === 0 ? ", the newest" : ""}`,
    index,
  }));
  const chosen = (name: string) =>
    sides.find(({ value }) => query.get(name) && value.startsWith(query.get(name) ?? ""));
  const shown = chosen("version") ?? sides[0];
  if (unsaved !== undefined) sides.unshift({ value: TEXT, label: "the text in the editor", index: -1 });
  const other = chosen("with") ?? sides.find(({ index }) => index === (shown?.index ?? 0) + 1) ?? sides[0];
  if (!shown || !other) return null;

  return (
    <div class="versions">
      <Panel title={`${versions.length} version${versions.length === 1 ? "" : "s"}`}>
        <ol class="version-list">
          {versions.map(({ version, put_at, put_by }, i) => (
            <li key={version}>
              <a
                href={href("scripts", [script.name], { tab: "versions", version })}
                aria-current={version === shown.value ? "true" : undefined}
              >
                <span class="row">
                  <Version version={version} />
                  {i === 0 && <Badge>newest</Badge>}
                </span>
                <span class="hint">
                  <Time at={put_at} /> by <By pubkey={put_by} me={session.me.pubkey} />
                </span>
              </a>
            </li>
          ))}
        </ol>
      </Panel>
      <Differences {...{ session, script, unsaved, shown, other, sides, onChanged }} />
    </div>
  );
}

interface DifferencesProps extends Props {
  readonly shown: Side;
  readonly other: Side;
  readonly sides: readonly Side[];
}

function Differences({ session, script, unsaved, shown, other, sides, onChanged }: DifferencesProps) {
  const { circle } = session;
  const sourceOf = async ({ value }: Side) => {
    if (value === TEXT) return unsaved ?? "";
    if (value === script.version) return script.source;
    return (await circle.getScript({ name: script.name, version: value })).source;
  };
  const [older, newer] = shown.index > other.index ? [shown, other] : [other, shown];
  const { value, error } = useAsync(
    async () => ({ older, newer, before: await sourceOf(older), after: await sourceOf(newer) }),
    [circle, script.version, older.value, newer.value, unsaved],
  );
  const isThere = value?.older.value === older.value && value.newer.value === newer.value;
  const source = shown === older ? value?.before : value?.after;
  return (
    <div class="stack">
      <div class="row spread">
        <div class="row">
          <span class="hint" aria-hidden="true">
            Compare with
          </span>
          <Select
            label="Compare with"
            value={other.value}
            onInput={(version) => setQuery({ version: shown.value, with: version })}
            options={sides}
          />
        </div>
        <div class="row">
          <CopyButton text={source ?? ""} label="Copy this version's source" />
          <Button
            onClick={() =>
              navigate("scripts", [script.name], {
                version: shown.value,
                from: route.value.query.get("from") ?? undefined,
              })
            }
          >
            Run it…
          </Button>
          <Button
            why={shown.index === 0 ? "This is the newest version already" : whyNot(session, "manage")}
            disabled={!isThere}
            onClick={() => putBack(session, script, source ?? "", onChanged)}
          >
            Put this version back
          </Button>
        </div>
      </div>
      <ErrorNote error={error} />
      {!isThere ? (
        !error && <p class="hint">Loading…</p>
      ) : shown.index === other.index ? (
        <Empty title="There is one version">Once you save another, its differences are here.</Empty>
      ) : (
        <>
          {value.before === value.after && <p class="hint">They are the same.</p>}
          <Compare before={value.before} after={value.after} labels={[older.label, newer.label]} />
        </>
      )}
    </div>
  );
}

async function putBack(
  { circle }: Session,
  script: Script,
  source: string,
  onChanged: () => Promise<void>,
): Promise<void> {
  try {
    const { version } = await circle.putScript({ name: script.name, source, if_version: script.version });
    toast(`${script.name} is ${shortVersion(version)} again`);
    setQuery({ version: undefined, with: undefined });
  } catch (error) {
    if (error instanceof ConflictError) toast("Somebody has put another version meanwhile: look again", "error");
    else toastError(error);
  }
  await onChanged();
}
