import { useEffect, useRef, useState } from "preact/hooks";
import { shownTheme } from "../../theme.js";
import { ErrorNote } from "../../ui/error.js";
import { SECONDS, type Second } from "./activity.js";

type Charts = typeof import("../../chart/main.js");
type Chart = ReturnType<Charts["createChart"]>;

const loadCharts = () => import(new URL("./chart.js", import.meta.url).href) as Promise<Charts>;

interface Props {
  readonly title: string;
  readonly colour: string;
  readonly seconds: readonly Second[];
  readonly of: (second: Second) => number;
}

/** Returns a rate with a digit after the point, if it is small and has one. */
const format = (rate: number) => (rate >= 100 ? Math.round(rate).toString() : rate.toFixed(1).replace(".0", ""));

/** One rate over the last two minutes: its number now, and a line. */
export function RateChart({ title, colour, seconds, of }: Props) {
  const element = useRef<HTMLDivElement>(null);
  const [chart, setChart] = useState<Chart>();
  const [error, setError] = useState<unknown>();
  useEffect(() => {
    let made: Chart | undefined;
    let isGone = false;
    loadCharts().then(({ createChart }) => {
      if (isGone || !element.current) return;
      made = createChart(element.current, { colour, seconds: SECONDS });
      setChart(made);
    }, setError);
    return () => {
      isGone = true;
      made?.destroy();
    };
  }, [colour]);
  useEffect(() => {
    const last = seconds.at(-1)?.at ?? 0;
    chart?.show(
      seconds.map(({ at }) => (last - at) / 1000),
      seconds.map(of),
    );
  }, [chart, seconds]);
  useEffect(() => chart?.redraw(), [chart, shownTheme.value]);
  const now = of(seconds.at(-1) ?? { at: 0, runs: 0, webhooks: 0, errors: 0 });
  const most = Math.max(0, ...seconds.map(of));
  return (
    <div class="rate">
      <div class="rate-head">
        <span>{title}</span>
        <span class="rate-now">
          {format(now)}
          <span class="muted"> /s</span>
        </span>
      </div>
      <ErrorNote error={error} />
      <div
        ref={element}
        class="rate-chart"
        role="img"
        aria-label={`${title}: ${format(now)} per second now, at most ${format(most)} in the last two minutes`}
      />
    </div>
  );
}
