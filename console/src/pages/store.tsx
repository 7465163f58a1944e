import { useEffect, useMemo, useState } from "preact/hooks";
import { href, navigate, route, setQuery } from "../router.js";
import { may, type Session } from "../session.js";
import { Button } from "../ui/button.js";
import { Dialog } from "../ui/dialog.js";
import { Empty } from "../ui/empty.js";
import { SearchInput } from "../ui/field.js";
import { Page, Split } from "../ui/panel.js";
import { isUnsaved } from "./store/edit.js";
import { EntryPanel } from "./store/entry.js";
import { GroupBar } from "./store/group.js";
import { StoreList } from "./store/list.js";
import { NewKey } from "./store/new-key.js";
import { listSource, watchSource } from "./store/source.js";
import { groupsAbove, type Row, Tree } from "./store/tree.js";
import "./store.css";

/** The store: its keys, and the one that is opened. `#/<circle>/store/<key>?q=<searched>&in=<group>`. */
export function StorePage({ session }: { session: Session }) {
  const mayPlay = may(session, "play");
  const mayManage = may(session, "manage");
  if (!mayPlay.ok && !mayManage.ok) {
    return (
      <Page title="Store">
        <Empty title="You may not see the store">
          <p>
            {mayPlay.why}. Who may <code>play</code> reads it by scripts, who may <code>manage</code> by{" "}
            <code>store_list</code>.
          </p>
        </Empty>
      </Page>
    );
  }
  return <Store key={session.pk} session={session} isLive={mayPlay.ok} />;
}

function Store({ session, isLive }: { session: Session; isLive: boolean }) {
  const { rest, query } = route.value;
  const [key] = rest;
  const search = query.get("q") ?? "";
  const group = query.get("in") ?? undefined;
  const isFlat = search !== "" || !isLive;
  const [isNew, setNew] = useState(false);
  const { circle } = session;
  // What is opened by hand later doesn't make another tree.
  const tree = useMemo(() => {
    const source = isLive ? watchSource(session) : listSource(session);
    const open = group ? [...groupsAbove(group), group] : key ? groupsAbove(key) : [];
    return new Tree(source, search, isFlat, isFlat ? [] : open);
  }, [circle, search, isLive]);
  useEffect(() => () => tree.close(), [tree]);
  // The key of another address is shown in the tree, too.
  useEffect(() => {
    if (key && !isFlat) for (const above of groupsAbove(key)) tree.toggle(above, true);
  }, [tree, key]);
  const kept = { q: search || undefined, in: group };
  const [leaving, setLeaving] = useState<() => void>();
  /** Does something that closes the key: at once, or once the user has given up what isn't saved. */
  const leave = (go: () => void) => (isUnsaved.peek() ? setLeaving(() => go) : go());
  const onOpen = (row: Row) => {
    if ("leaf" in row) leave(() => navigate("store", [row.leaf.key], kept));
    else if ("group" in row) {
      tree.toggle(row.group.group);
      setQuery({ in: row.group.group });
    }
  };
  const mayPlay = may(session, "play");
  const close = () => navigate("store", [], kept);
  const create = (
    <Button kind="primary" onClick={() => setNew(true)} why={mayPlay.ok ? undefined : mayPlay.why}>
      New key
    </Button>
  );
  const detail =
    key !== undefined ? <EntryPanel key={key} session={session} name={key} onClose={() => leave(close)} /> : undefined;
  return (
    <Page title="Store" actions={create} fill>
      <Split
        onClose={() => leave(close)}
        list={
          <div class="store-side">
            <div class="store-bar">
              <SearchInput
                value={search}
                onInput={(q) => setQuery({ q, in: undefined })}
                placeholder="Keys that begin with…"
              />
            </div>
            {group !== undefined && !isFlat && (
              <GroupBar
                key={group}
                session={session}
                prefix={group}
                onClose={() => setQuery({ in: undefined })}
                onNew={() => setNew(true)}
              />
            )}
            <StoreList
              tree={tree}
              isFlat={isFlat}
              selected={key !== undefined ? `key ${key}` : group && `group ${group}`}
              onOpen={onOpen}
              empty={
                search ? (
                  <Empty title="No key begins with this" action={<a href={href("store")}>Show all keys</a>} />
                ) : (
                  <Empty title="The store is empty" action={create}>
                    <p>
                      Scripts write keys with <code>store.set("greeting", "hello")</code>. Or make one here.
                    </p>
                  </Empty>
                )
              }
            />
          </div>
        }
        detail={detail}
      />
      {leaving && (
        <Leave
          onStay={() => setLeaving(undefined)}
          onLeave={() => {
            setLeaving(undefined);
            leaving();
          }}
        />
      )}
      {isNew && (
        <NewKey
          session={session}
          prefix={group ?? ""}
          onClose={() => setNew(false)}
          onMade={(made) => {
            setNew(false);
            leave(() => navigate("store", [made], kept));
          }}
        />
      )}
    </Page>
  );
}

/** Asks before a change that isn't saved is lost. */
function Leave({ onStay, onLeave }: { onStay: () => void; onLeave: () => void }) {
  return (
    <Dialog title="Leave without saving?" onClose={onStay}>
      <div class="stack">
        <p>The value that you are editing isn't saved.</p>
        <div class="row end">
          <Button kind="danger" onClick={onLeave}>
            Discard the change
          </Button>
          <Button kind="primary" onClick={onStay}>
            Keep editing
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
