/** Where lines go on: what is forecast of them, laid out on the windows of a chart. */

import type { Tile } from "./board";
import { historyLength } from "./panels";
import type { Value } from "./protocol";
import type { Series, SeriesStore } from "./store";

/** Dimension of what is forecast: how many windows before its own it was said. */
const HORIZON = "horizon";

interface Said {
  start: number;
  value: number;
  lower: number;
  upper: number;
}

/** Of one line. */
export interface Forecast {
  /** Start of the window that was the last one known when it was made. */
  origin: number;
  /** What is said of windows behind that, nearest first; not of each. */
  said: readonly Said[];
  /** The points of the nearest horizon: what was said of each window shortly before it. */
  nearest: Series;
}

/** Over the windows of a chart: null where nothing is said. */
export interface Ahead {
  value: (number | null)[];
  lower: (number | null)[];
  upper: (number | null)[];
}

/** How many windows behind the last one a chart has room for: half as many again as are of the past. */
export function mostAhead(fineMs: number): number {
  return Math.floor(historyLength(fineMs) / 2);
}

/** What is forecast of what a tile draws, by the id of the line. */
export function forecastsOf(tile: Tile, store: SeriesStore, fine: string, fineMs: number): Map<string, Forecast> {
  const group = tile.forecast === null ? undefined : store.group(tile.forecast, fine);
  const byLine = new Map<string, { horizon: number; series: Series }[]>();
  for (const series of group?.series.values() ?? []) {
    const horizon = Number(series.dimensions[HORIZON]);
    if (!(horizon >= 1) || series.latest === undefined) continue;
    // As a store makes the id of a series: in the order of names.
    const id = JSON.stringify((JSON.parse(series.id) as [string, string][]).filter(([name]) => name !== HORIZON));
    const line = byLine.get(id);
    if (line === undefined) byLine.set(id, [{ horizon, series }]);
    else line.push({ horizon, series });
  }
  const found = new Map<string, Forecast>();
  for (const [id, line] of byLine) {
    line.sort((one, other) => one.horizon - other.horizon);
    const originOf = ({ horizon, series }: (typeof line)[number]): number => series.latest!.start - horizon * fineMs;
    const origin = Math.max(...line.map(originOf));
    const said = line.filter((one) => originOf(one) === origin).flatMap(({ series }) => saidAt(series, series.latest!.start) ?? []);
    found.set(id, { origin, said, nearest: line[0]!.series });
  }
  return found;
}

/** How many windows behind the last one there is something to draw in. */
export function reachOf(forecasts: Iterable<Forecast>, last: number, fineMs: number): number {
  let reach = 0;
  for (const { said } of forecasts) reach = Math.max(reach, ((said.at(-1)?.start ?? -Infinity) - last) / fineMs);
  return Math.min(Math.floor(reach), mostAhead(fineMs));
}

/**
 * From the last known value to what is said of windows to come, with straight lines between those of which something is
 * said. Null where all of it is of the past: a series that is not forecast any more has no future.
 */
export function aheadOf(forecast: Forecast, known: number | null, first: number, count: number, fineMs: number, last: number): Ahead | null {
  const { origin, said } = forecast;
  if (said.length === 0 || said.at(-1)!.start <= last) return null;
  const nodes = known === null ? said : [{ start: origin, value: known, lower: known, upper: known }, ...said];
  const ahead: Ahead = { value: nulls(count), lower: nulls(count), upper: nulls(count) };
  nodes.forEach((node, place) => {
    const before = nodes[place - 1] ?? node;
    const steps = Math.round((node.start - before.start) / fineMs);
    for (let step = Math.min(1, steps); step <= steps; step += 1) {
      const index = Math.round((before.start - first) / fineMs) + step;
      if (index < 0 || index >= count) continue;
      const between = (from: number, to: number): number => (steps === 0 ? to : from + (step / steps) * (to - from));
      ahead.value[index] = between(before.value, node.value);
      ahead.lower[index] = between(before.lower, node.lower);
      ahead.upper[index] = between(before.upper, node.upper);
    }
  });
  return ahead;
}

/** What was said of each closed window shortly before it. */
export function foreseen(forecast: Forecast, closed: readonly (number | null)[], first: number, fineMs: number): Pick<Ahead, "lower" | "upper"> {
  const said = closed.map((value, index) => (value === null ? null : saidAt(forecast.nearest, first + index * fineMs)));
  return { lower: said.map((one) => one?.lower ?? null), upper: said.map((one) => one?.upper ?? null) };
}

function saidAt(series: Series, start: number): Said | null {
  const value: Value | undefined = series.at(start)?.value;
  if (value === undefined || typeof value === "number") return null;
  const { value: middle, lower, upper } = value;
  return middle === undefined || lower === undefined || upper === undefined ? null : { start, value: middle, lower, upper };
}

function nulls(count: number): (number | null)[] {
  return new Array<number | null>(count).fill(null);
}
