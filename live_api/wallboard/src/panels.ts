/** Which panels a catalog makes, and which windows of each metric they need. Everything else is not kept. */

import { DAY_MS, MINUTE_MS, windowMs } from "./durations";
import type { Metric } from "./protocol";

export interface Panel {
  metric: Metric;
  /** The smallest window: sparkline, chart, and how old a number may grow. */
  fine: string;
  fineMs: number;
  /** The window of the big number. */
  main: string;
  mainMs: number;
  /** The value of an open window only grows towards its total. */
  accumulates: boolean;
  /** A window without a point, between windows with one, is a zero rather than unknown. */
  zeroWhenEmpty: boolean;
}

export interface Board {
  tiles: Panel[];
  charts: Panel[];
}

/** Windows on a sparkline. */
export const SPARK_WINDOWS = 48;
/** Windows along a chart. */
export const CHART_WINDOWS = 180;
const MAIN_WINDOWS = 4;

const BUILT_IN = "streamgauge_";
const ACCUMULATING = new Set(["count", "sum", "distinct"]);
const ZERO_WHEN_EMPTY = new Set(["count", "sum"]);
/** Their values are objects. */
const NOT_A_NUMBER = new Set(["quantile", "top_k"]);

/** A tile for each metric without dimensions, a chart for each with some, in the catalog's order. */
export function boardOf(metrics: readonly Metric[]): Board {
  const panels = metrics.flatMap((metric) => panelOf(metric) ?? []);
  return {
    tiles: panels.filter((panel) => panel.metric.by.length === 0),
    charts: panels.filter((panel) => panel.metric.by.length > 0),
  };
}

export function isBuiltIn(metric: string): boolean {
  return metric.startsWith(BUILT_IN);
}

/** How many points of each metric's window the store has to keep for this board. */
export function capacitiesOf(board: Board): (metric: string, window: string) => number {
  const needed = new Map<string, number>();
  for (const [panels, windows] of [
    [board.tiles, SPARK_WINDOWS],
    [board.charts, CHART_WINDOWS],
  ] as const) {
    for (const { metric, fine, main } of panels) {
      needed.set(JSON.stringify([metric.name, main]), MAIN_WINDOWS);
      needed.set(JSON.stringify([metric.name, fine]), windows + MAIN_WINDOWS);
    }
  }
  return (metric, window) => needed.get(JSON.stringify([metric, window])) ?? 0;
}

/**
 * A total reads best over the longest window up to a day, which grows with every event and starts again once a day. An
 * average over a day would hide the moment, and over ten seconds would jump: the shortest from a minute up is its window.
 */
function panelOf(metric: Metric): Panel | null {
  if (isBuiltIn(metric.name) || NOT_A_NUMBER.has(metric.measure)) return null;
  const windows = metric.windows
    .map((window) => ({ window, ms: windowMs(window) }))
    .filter((one): one is { window: string; ms: number } => one.ms !== null)
    .sort((one, other) => one.ms - other.ms);
  const fine = windows[0];
  if (fine === undefined) return null;
  const accumulates = ACCUMULATING.has(metric.measure);
  const main = accumulates
    ? windows.findLast((one) => one.ms <= DAY_MS)
    : (windows.find((one) => one.ms >= MINUTE_MS) ?? windows.at(-1));
  return {
    metric,
    fine: fine.window,
    fineMs: fine.ms,
    main: (main ?? fine).window,
    mainMs: (main ?? fine).ms,
    accumulates,
    zeroWhenEmpty: ZERO_WHEN_EMPTY.has(metric.measure),
  };
}
