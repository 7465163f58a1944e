import type { ComponentChildren, TargetedKeyboardEvent } from "preact";
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

export interface Column<T> {
  readonly title: string;
  /** A track of CSS grid: `120px`, `2fr`. By default, the columns share what is left. */
  readonly width?: string | undefined;
  readonly cell: (row: T) => ComponentChildren;
  readonly align?: "start" | "end" | undefined;
  /** Left out on narrow screens. */
  readonly hideNarrow?: boolean | undefined;
}

export interface VirtualTableProps<T> {
  readonly rows: readonly T[];
  readonly rowKey: (row: T) => string;
  readonly columns: readonly Column<T>[];
  readonly onOpen?: ((row: T) => void) | undefined;
  /** The key of the row that is open. */
  readonly selected?: string | undefined;
  /** The list is scrolled to its end: fetch the next page. */
  readonly onEnd?: (() => void) | undefined;
  readonly empty: ComponentChildren;
  readonly label: string;
}

/** The height of a row, in pixels, as styles/table.css has it. */
const ROW = 36;
/** How many rows are there above and below those that are seen. */
const SPARE = 8;
const NARROW = matchMedia("(max-width: 640px)");

function useNarrow(): boolean {
  const [isNarrow, set] = useState(NARROW.matches);
  useEffect(() => {
    const onChange = () => set(NARROW.matches);
    NARROW.addEventListener("change", onChange);
    return () => NARROW.removeEventListener("change", onChange);
  }, []);
  return isNarrow;
}

/**
 * A long list, of which only what is seen is in the page. It fills the height that it is given. Arrows, Page Up and Down, Home and
 * End move between the rows, and Enter opens one.
 */
export function VirtualTable<T>(props: VirtualTableProps<T>) {
  const { rows, rowKey, onOpen, selected, onEnd, empty, label } = props;
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [activeKey, setActiveKey] = useState<string | undefined>(selected);
  const isNarrow = useNarrow();
  const columns = useMemo(
    () => props.columns.filter((column) => !(isNarrow && column.hideNarrow)),
    [props.columns, isNarrow],
  );
  const tracks = columns.map(({ width }) => width ?? "minmax(0, 1fr)").join(" ");

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [rows.length === 0]);

  const first = Math.max(0, Math.floor(view.top / ROW) - SPARE);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + SPARE);
  const isAtEnd = last >= rows.length;
  // Asked once for each length.
  useEffect(() => {
    if (isAtEnd && rows.length > 0) onEnd?.();
  }, [isAtEnd, rows.length]);

  if (rows.length === 0) return <div class="table-empty">{empty}</div>;

  const active = activeKey === undefined ? -1 : rows.findIndex((row) => rowKey(row) === activeKey);
  const move = (to: number) => {
    const index = Math.max(0, Math.min(rows.length - 1, to));
    const row = rows[index];
    const element = box.current;
    if (!row || !element) return;
    setActiveKey(rowKey(row));
    const top = index * ROW;
    const seen = element.clientHeight - ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + seen) element.scrollTop = top + ROW - seen;
  };
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    // The keys of what is in a cell are its own.
    if (event.target !== event.currentTarget || event.metaKey || event.ctrlKey || event.altKey) return;
    const page = Math.max(1, Math.floor(view.height / ROW) - 2);
    const to: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: Math.max(0, active - 1),
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: rows.length - 1,
    };
    const target = to[event.key];
    const row = rows[active];
    if (target !== undefined) move(target);
    else if (event.key === "Enter" && row && onOpen) onOpen(row);
    else return;
    event.preventDefault();
  };

  return (
    <div
      ref={box}
      class="table"
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length}
      aria-activedescendant={active >= first && active < last ? `${id}-${active}` : undefined}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onFocus={(event) => {
        if (event.target === event.currentTarget && active < 0) setActiveKey(rows[first] && rowKey(rows[first]));
      }}
      onScroll={(event) => setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}
    >
      <div class="table-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: tracks }}>
        {columns.map(({ title, align }) => (
          <div key={title} role="columnheader" class={align === "end" ? "cell end" : "cell"}>
            {title}
          </div>
        ))}
      </div>
      <div class="table-rows" role="rowgroup" style={{ height: `${rows.length * ROW}px` }}>
        {rows.slice(first, last).map((row, n) => {
          const index = first + n;
          const key = rowKey(row);
          const classes = [
            "table-row",
            key === selected && "selected",
            index === active && "active",
            onOpen && "opens",
          ];
          return (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the focus and the keys
            <div
              key={key}
              id={`${id}-${index}`}
              role="row"
              aria-rowindex={index + 2}
              aria-selected={selected === undefined ? undefined : key === selected}
              class={classes.filter(Boolean).join(" ")}
              style={{ gridTemplateColumns: tracks, transform: `translateY(${index * ROW}px)` }}
              onClick={(event) => {
                if (event.target instanceof Element && event.target.closest("button, a, input, select, label")) return;
                setActiveKey(key);
                onOpen?.(row);
              }}
            >
              {columns.map(({ title, align, cell }) => (
                <div key={title} role="gridcell" class={align === "end" ? "cell end" : "cell"}>
                  {cell(row)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}
