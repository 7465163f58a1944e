/** The circle's owner and members, and how one is added or removed. */

import type { Member } from "@circled/client";
import { signal } from "@preact/signals";
import { isLocked, UnlockButton } from "../../frame/account.js";
import { route, setQuery } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Badge } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { confirmByName } from "../../ui/dialog.js";
import { Empty } from "../../ui/empty.js";
import { ErrorNote } from "../../ui/error.js";
import { Checkbox, SearchInput } from "../../ui/field.js";
import { Key, shortKey } from "../../ui/key.js";
import { Panel } from "../../ui/panel.js";
import { VirtualTable } from "../../ui/table.js";
import { Time } from "../../ui/time.js";
import { toast, toastError } from "../../ui/toast.js";
import { useLive } from "../../ui/use-live.js";
import { AddMember } from "./add.js";

/** Somebody who belongs to the circle. `fixed`: by the server's settings. */
type Row =
  | { readonly kind: "owner" | "fixed"; readonly pubkey: string }
  | { readonly kind: "member"; readonly pubkey: string; readonly member: Member };

export function MemberList({ session }: { session: Session }) {
  const { circle, me, pk } = session;
  const why = whyNot(session, "manage");
  const { value, error, reload } = useLive(
    session,
    "circle.member_",
    async () => (why ? undefined : await circle.listMembers()),
    [circle, why],
  );
  const search = route.value.query.get("q") ?? "";
  if (why) {
    return (
      <Panel title="Members">
        <Empty
          title="The list of members is not for you to see"
          action={isLocked(session) && <UnlockButton session={session} />}
        >
          {why}.
        </Empty>
      </Panel>
    );
  }
  const all: Row[] = [
    { kind: "owner", pubkey: pk },
    ...(value?.fixed ?? []).map((pubkey) => ({ kind: "fixed" as const, pubkey })),
    ...(value?.members ?? []).map((member) => ({ kind: "member" as const, pubkey: member.pubkey, member })),
  ];
  const rows = all.filter(({ pubkey }) => pubkey.includes(search.trim().toLowerCase().replace(/^0x/, "")));
  const hasMembers = all.length > 1;
  return (
    <Panel title={`Members${value ? ` (${all.length - 1})` : ""}`}>
      <div class="stack">
        <AddMember session={session} taken={all.map(({ pubkey }) => pubkey)} onAdded={reload} />
        <ErrorNote error={error} />
        {all.length > 8 && (
          <SearchInput value={search} onInput={(q) => setQuery({ q: q || undefined })} placeholder="Search keys" />
        )}
        {!value && <p class="muted">{error ? "The members couldn't be loaded." : "Loading…"}</p>}
        {value && (
          <div class="people">
            <VirtualTable<Row>
              label="Members"
              rows={rows}
              rowKey={({ pubkey }) => pubkey}
              empty={`No key has “${search}” in it.`}
              columns={[
                {
                  title: "Key",
                  width: "152px",
                  cell: ({ pubkey }) => <Key pubkey={pubkey} />,
                },
                {
                  title: "Role",
                  width: "minmax(0, 3fr)",
                  cell: (row) => (
                    <>
                      <Role row={row} /> {row.pubkey === me.pubkey && <Badge>you</Badge>}
                    </>
                  ),
                },
                {
                  title: "Added",
                  width: "88px",
                  hideNarrow: true,
                  cell: (row) => row.kind === "member" && <Time at={row.member.added_at} />,
                },
                {
                  title: "Change",
                  width: "80px",
                  align: "end",
                  cell: ({ kind, pubkey }) =>
                    kind === "member" && (
                      <Button
                        small
                        kind="quiet"
                        label={`Remove ${shortKey(pubkey)}`}
                        why={whyNot(session, "owner")}
                        onClick={() => remove(session, pubkey, reload)}
                      >
                        Remove…
                      </Button>
                    ),
                },
              ]}
            />
          </div>
        )}
        {value && !hasMembers && (
          <p class="hint">
            Nobody but the owner yet. Ask people for their public key: the console shows it on this page, under “You”,
            and so does <code>circled keygen me.key</code>.
          </p>
        )}
      </div>
    </Panel>
  );
}

function Role({ row }: { row: Row }) {
  if (row.kind === "owner") return <span title="They hold the circle's key">owner: holds the circle's key</span>;
  if (row.kind !== "member") {
    return <span title="Only the server's operator can change that">member by the server's settings</span>;
  }
  const { unknown_role: role } = row.member;
  if (!role) return <>member</>;
  return <span title="This server doesn't know that role: they have a guest's rights">{role}: as a guest</span>;
}

async function remove({ circle }: Session, pubkey: string, onRemoved: () => void): Promise<void> {
  const stopJobs = signal(true);
  const name = pubkey.slice(-8);
  const Body = () => (
    <div class="stack">
      <p>
        <code class="whole-key">{pubkey}</code> has no more rights than a guest, from the next call on and in all
        sessions. Its last digits name it:
      </p>
      <Checkbox
        checked={stopJobs.value}
        onInput={(checked) => {
          stopJobs.value = checked;
        }}
      >
        Cancel their jobs that are not over, too
      </Checkbox>
    </div>
  );
  if (!(await confirmByName({ title: "Remove a member", body: <Body />, name, action: "Remove" }))) return;
  try {
    const { removed, stopped, failed } = await circle.removeMember({ pubkey, stop_jobs: stopJobs.peek() });
    const jobs = stopped ? `, and ${stopped} job${stopped === 1 ? " was" : "s were"} cancelled` : "";
    if (failed) toast(`Removed${jobs}; ${failed} could not be cancelled: try again`, "error");
    else toast(removed ? `Removed${jobs}` : `They were no member${jobs}`);
  } catch (error) {
    toastError(error);
  }
  onRemoved();
}
