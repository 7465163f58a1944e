/** Charts of the last minutes: chart.js, which the overview loads. */

import UPlot from "uplot";

export interface ChartOptions {
  /** The CSS variables of the lines' colours, one for each line. */
  readonly colours: readonly string[];
  readonly height: number;
}

export interface Chart {
  /** Shows these times (in seconds) and, for each line, its values. */
  show(times: readonly number[], lines: readonly (readonly number[])[]): void;
  /** Draws anew: the theme is another one. */
  redraw(): void;
  destroy(): void;
}

/** Draws a chart in an element, as wide as that is. */
export function createChart(element: HTMLElement, { colours, height }: ChartOptions): Chart {
  const css = (name: string) => getComputedStyle(element).getPropertyValue(name).trim();
  const axis: UPlot.Axis = {
    stroke: () => css("--fg-muted"),
    grid: { stroke: () => css("--line"), width: 1 },
    ticks: { show: false },
    font: `11px ${css("--sans")}`,
  };
  const plot = new UPlot(
    {
      width: element.clientWidth || 300,
      height,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      select: { show: false, left: 0, top: 0, width: 0, height: 0 },
      scales: { y: { range: (_, _least, most) => [0, Math.max(4, Math.ceil(most * 1.1))] } },
      axes: [
        { ...axis, size: 24, space: 70 },
        { ...axis, size: 36, space: 28 },
      ],
      series: [{}, ...colours.map((colour) => ({ stroke: () => css(colour), width: 1.5, points: { show: false } }))],
    },
    [[], ...colours.map(() => [])],
    element,
  );
  const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth || 300, height }));
  observer.observe(element);
  return {
    show: (times, lines) => plot.setData([[...times], ...lines.map((line) => [...line])]),
    redraw: () => plot.redraw(false, true),
    destroy() {
      observer.disconnect();
      plot.destroy();
    },
  };
}
