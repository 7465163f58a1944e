import { useEffect } from "preact/hooks";
import { Empty } from "../../ui/empty.js";
import { explain } from "../../ui/explain.js";
import { Icon } from "../../ui/icon.js";
import { VirtualTable } from "../../ui/table.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";
import { MOST_COUNTED } from "./scripts.js";
import type { Page, Row, Tree } from "./tree.js";

interface StoreListProps {
  readonly tree: Tree;
  /** True: the rows have whole keys, without groups. */
  readonly isFlat: boolean;
  readonly selected: string | undefined;
  readonly onOpen: (row: Row) => void;
  readonly empty: preact.ComponentChildren;
}

/** The keys of the store as a tree, or as a flat list of those that were searched for. */
export function StoreList({ tree, isFlat, selected, onOpen, empty }: StoreListProps) {
  const { emptyPage } = tree;
  if (emptyPage) return <Watched page={emptyPage}>{empty}</Watched>;
  return (
    <VirtualTable
      label="Keys"
      rows={tree.rows.value as Row[]}
      rowKey={(row) => row.id}
      columns={[
        { title: "Key", width: "minmax(0, 2fr)", cell: (row) => <Name row={row} isFlat={isFlat} /> },
        { title: "Value", width: "minmax(0, 3fr)", cell: (row) => <Value row={row} /> },
      ]}
      selected={selected}
      onOpen={onOpen}
      empty={<Empty title="No keys" />}
    />
  );
}

/** Has a page followed while this is on the screen. */
function Watched({ page, children }: { page: Page; children: preact.ComponentChildren }) {
  useEffect(() => page.retain(), [page]);
  return <>{children}</>;
}

function Name({ row, isFlat }: { row: Row; isFlat: boolean }) {
  useEffect(() => row.page.retain(), [row.page]);
  const style = { paddingInlineStart: `${row.depth * 16}px` };
  if ("note" in row) {
    const text =
      row.note === "loading" ? "Loading…" : row.note === "empty" ? "No keys here any more" : explain(row.note).title;
    return (
      <span class="store-name store-note" style={style}>
        {text}
      </span>
    );
  }
  const isGroup = "group" in row;
  const whole = isGroup ? row.group.group : row.leaf.key;
  // The levels above have the beginning of the name.
  const above = /^.*[/:](?=.)/s.exec(whole)?.[0].length ?? 0;
  const name = isFlat ? whole : whole.slice(above);
  return (
    <span class="store-name" style={style}>
      {isGroup ? (
        <span class={row.isOpen ? "store-mark open" : "store-mark"}>
          <Icon name="chevron" />
        </span>
      ) : (
        <span class="store-mark" />
      )}
      <span class="store-text">
        <Text value={name} />
      </span>
      {isGroup && <span class="hidden">{row.isOpen ? "open" : "closed"}</span>}
    </span>
  );
}

function Value({ row }: { row: Row }) {
  if ("note" in row) return null;
  if ("group" in row) {
    const { count } = row.group;
    const text =
      count > MOST_COUNTED
        ? `${MOST_COUNTED.toLocaleString("en")}+ keys`
        : `${count.toLocaleString("en")} ${count === 1 ? "key" : "keys"}`;
    return <span class="store-count">{text}</span>;
  }
  const { value, size = 0, expires } = row.leaf;
  if (value === undefined) return <span class="store-count">…</span>;
  return (
    <span class="store-value">
      <code class="store-text">
        <Text value={value} />
        {size > value.length && "…"}
      </code>
      {expires !== undefined && (
        <span class="badge">
          <Time at={expires} />
        </span>
      )}
    </span>
  );
}
