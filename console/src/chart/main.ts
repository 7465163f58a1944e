/** Charts of the last minutes: chart.js, which the overview loads. */

import UPlot from "uplot";

export interface ChartOptions {
  /** The CSS variable of the line's colour, which is one in hex. */
  readonly colour: string;
  /** How many seconds are shown. */
  readonly seconds: number;
}

export interface Chart {
  /** Shows a line: how many seconds ago, and the value then. */
  show(ages: readonly number[], values: readonly number[]): void;
  /** Draws anew: the theme is another one. */
  redraw(): void;
  destroy(): void;
}

/** The pause between two vertical lines, in seconds. */
const STEP = 30;

/** Draws a chart in an element, as large as that is. */
export function createChart(element: HTMLElement, { colour, seconds }: ChartOptions): Chart {
  const css = (name: string) => getComputedStyle(element).getPropertyValue(name).trim();
  const axis: UPlot.Axis = {
    stroke: () => css("--fg-muted"),
    grid: { stroke: () => css("--line"), width: 1 },
    ticks: { show: false },
    font: `11px ${css("--sans")}`,
  };
  const size = () => ({ width: element.clientWidth || 300, height: element.clientHeight || 100 });
  const steps = Array.from({ length: seconds / STEP - 1 }, (_, n) => -STEP * (n + 1)).reverse();
  const plot = new UPlot(
    {
      ...size(),
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      select: { show: false, left: 0, top: 0, width: 0, height: 0 },
      scales: {
        x: { time: false, range: [-seconds, 0] },
        y: { range: (_, _least, most) => [0, Math.max(4, Math.ceil((most ?? 0) * 1.1))] },
      },
      axes: [
        { ...axis, size: 24, splits: () => steps, values: () => steps.map((step) => `${step} s`) },
        { ...axis, size: 36, space: 28 },
      ],
      series: [{}, { stroke: () => css(colour), fill: () => `${css(colour)}22`, width: 1.5, points: { show: false } }],
    },
    [[], []],
    element,
  );
  const observer = new ResizeObserver(() => plot.setSize(size()));
  observer.observe(element);
  return {
    show: (ages, values) => plot.setData([ages.map((age) => -age), [...values]]),
    redraw: () => plot.redraw(true, true),
    destroy() {
      observer.disconnect();
      plot.destroy();
    },
  };
}
