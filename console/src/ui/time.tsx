import { computed, signal } from "@preact/signals";
import { useMemo } from "preact/hooks";

/** The time now, to the second, for all that shows how long ago something was. */
export const now = signal(Date.now());
setInterval(() => {
  if (document.visibilityState !== "hidden") now.value = Date.now();
}, 1000);

const UNITS = [
  ["year", 365 * 86_400],
  ["month", 30 * 86_400],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
] as const;
const FORMAT = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });

/** Returns a time relative to another one: "5m ago". */
export function relative(at: number, from: number): string {
  const seconds = Math.round((at - from) / 1000);
  if (Math.abs(seconds) < 3) return "now";
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return FORMAT.format(Math.trunc(seconds / size), unit);
}

/** A time, relative to now; exactly as its title. */
export function Time({ at }: { at: string | number }) {
  const time = typeof at === "number" ? at : Date.parse(at);
  const text = useMemo(() => computed(() => relative(time, now.value)), [time]);
  if (Number.isNaN(time)) return <span>{String(at)}</span>;
  const exact = new Date(time);
  return (
    <time dateTime={exact.toISOString()} title={`${exact.toLocaleString()} (${exact.toISOString()})`}>
      {text}
    </time>
  );
}
