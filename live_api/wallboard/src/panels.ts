/** Which windows of its metric a tile needs, and how they are to be read. */

import type { MetricInfo, Tile } from "./board";
import { HOUR_MS, windowMs } from "./durations";
import type { Moment } from "./moment";
import type { Series, SeriesStore } from "./store";

export interface Panel {
  metric: MetricInfo;
  /** The window of history: sparkline and lines. */
  fine: string;
  fineMs: number;
  /** The window of the value. */
  main: string;
  mainMs: number;
  /** The metric's smallest window: how soon a new value is to be expected. */
  expectedMs: number;
  /** The value of an open window only grows towards its total. */
  accumulates: boolean;
  /** A window without a point, between windows with one, is a zero rather than unknown. */
  zeroWhenEmpty: boolean;
  /** Which of several values a point has. */
  key: string | null;
}

/** Windows of a tile's history: an hour, but neither so few that nothing is seen nor more than a screen has pixels for. */
const LEAST_HISTORY = 24;
const MOST_HISTORY = 360;
const MAIN_WINDOWS = 4;
/** Of what no tile is known to need: a snapshot may come before the board that it is for. */
const SPARE_WINDOWS = 4;

const ACCUMULATING = new Set(["count", "sum", "distinct"]);
const ZERO_WHEN_EMPTY = new Set(["count", "sum"]);

/** Null for a tile that is about no metric, or about a window that has no width. */
export function panelOf({ metric, window, fine, key }: Tile): Panel | null {
  if (metric === null || window === null) return null;
  const mainMs = windowMs(window);
  const fineMs = windowMs(fine ?? window);
  if (mainMs === null || fineMs === null) return null;
  return {
    metric,
    fine: fine ?? window,
    fineMs,
    main: window,
    mainMs,
    expectedMs: Math.min(fineMs, mainMs, ...metric.windows.flatMap((one) => windowMs(one) ?? [])),
    accumulates: ACCUMULATING.has(metric.measure),
    zeroWhenEmpty: ZERO_WHEN_EMPTY.has(metric.measure),
    key,
  };
}

/** How many windows make up the last hour of a tile. */
export function historyLength(fineMs: number): number {
  return Math.min(MOST_HISTORY, Math.max(LEAST_HISTORY, Math.ceil(HOUR_MS / fineMs)));
}

/** How many points of each metric's window the store has to keep for these tiles. */
export function capacitiesOf(tiles: Iterable<Tile>): (metric: string, window: string) => number {
  const needed = new Map<string, number>();
  const need = (metric: string, window: string, points: number): void => {
    const key = JSON.stringify([metric, window]);
    needed.set(key, Math.max(points, needed.get(key) ?? 0));
  };
  for (const tile of tiles) {
    const { metric, window, fine } = tile;
    if (metric === null || window === null) continue;
    need(metric.name, window, MAIN_WINDOWS);
    // Windows of the calendar and those that slide have a value now, but no width to lay out a history with.
    const fineMs = windowMs(fine ?? window);
    if (fineMs === null) continue;
    need(metric.name, fine ?? window, historyLength(fineMs) + MAIN_WINDOWS);
    // Of the nearest horizon all of the past, of the others what is to come.
    if (tile.forecast !== null) need(tile.forecast, fine ?? window, historyLength(fineMs) + MAIN_WINDOWS);
  }
  return (metric, window) => needed.get(JSON.stringify([metric, window])) ?? SPARE_WINDOWS;
}

/** The series of a window that a tile is about. */
export function seriesOf(tile: Tile, store: SeriesStore, window: string): Series[] {
  const group = tile.metric === null ? undefined : store.group(tile.metric.name, window);
  if (group === undefined) return [];
  const wanted = Object.entries(tile.dimensions);
  return [...group.series.values()].filter(
    (series) => series.latest !== undefined && wanted.every(([name, value]) => series.dimensions[name] === value),
  );
}

/**
 * Since when these stand, ms; null without any. A change that was seen to happen tells. What was there before this page
 * looked is no older than its latest small window with a point, and no younger than the latest event of any kind.
 */
export function ageOf(main: readonly Series[], fine: readonly Series[], moment: Moment): number | null {
  if (main.length === 0) return null;
  const latest = (all: readonly Series[], time: (series: Series) => number): number => Math.max(-Infinity, ...all.map(time));
  const vouched =
    fine.length === 0
      ? latest(main, (series) => series.latest?.start ?? -Infinity)
      : Math.min(latest(main, (series) => series.vouchedAt), latest(fine, (series) => series.vouchedAt));
  const changed = latest(main, (series) => series.changedAt);
  return Math.max(0, moment.now - Math.max(changed, Math.min(vouched, moment.lastEvent ?? Infinity)));
}
