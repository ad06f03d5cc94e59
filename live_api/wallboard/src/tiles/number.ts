/** What a number tile says, worked out from the store: plain data, so that every sentence on the wall can be tested. */

import type { Tile } from "../board";
import { deltaOf, type Compared, type Delta } from "../compare";
import { windowStart } from "../durations";
import { bigNumber, exactNumber, shortNumber } from "../format";
import { freshnessOf, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import { ageOf, historyLength, panelOf, seriesOf, type Panel } from "../panels";
import { closedText, isTellingZero, periodText, windowName } from "../periods";
import { numberIn, type Point } from "../protocol";
import { lastStart, slotsOf, sumOf, unknownAtStart, type Slots } from "../slots";
import type { Series, SeriesStore } from "../store";
import { levelOf, type Level } from "../threshold";
import { periodOf as periodOfWindow, standingOf } from "./rows";

export interface Side {
  label: string;
  value: string;
}

export interface NumberView {
  freshness: Freshness;
  level: Level;
  ageMs: number | null;
  /** null: nothing was measured yet. */
  value: string | null;
  exact: string;
  unit: string | null;
  /** What the big number is: "today so far". */
  period: string;
  closed: Side | null;
  running: Side | null;
  spark: Slots | null;
  delta: Delta | null;
  /** From 0 to 1, where the target can be set against the big number. */
  towardsTarget: number | null;
  target: number | null;
}

export interface Current {
  start: number;
  value: number;
  open: boolean;
}

const MEASURE_WORDS: Record<string, string> = {
  mean: "average",
  min: "lowest",
  max: "highest",
  distinct: "distinct",
  rate: "rate",
  first: "first",
  last: "latest",
};

/** A sparkline has at least so many windows, so that two points are not drawn as a trend. */
const LEAST_WINDOWS = 24;

/** What can be added up over the series of one metric: nothing else has one number for several. */
const ADDS_UP = new Set(["count", "sum", "rate"]);

export function numberOf(tile: Tile, store: SeriesStore, moment: Moment, compared?: Compared): NumberView {
  const panel = panelOf(tile);
  if (panel === null) return withoutWidth(tile, store, moment);
  const main = seriesOf(tile, store, panel.main);
  const fine = seriesOf(tile, store, panel.fine);
  const shown = currentOf(tile, panel, store, moment);
  const ageMs = shown === null ? null : ageOf(main, fine, moment);
  const slots = slotsOfAll(panel, fine, moment);
  const { closed, running } = sidesOf(panel, fine, slots, moment);
  const target = tile.target ?? panel.metric.target;
  return {
    freshness: freshnessOf({ ageMs, expectedMs: panel.expectedMs, countsEvents: panel.zeroWhenEmpty }, moment),
    level: levelOf(shown?.value ?? null, tile),
    ageMs,
    value: shown === null ? null : bigNumber(shown.value),
    exact: shown === null ? "" : exactNumber(shown.value),
    unit: tile.unit,
    period: shown === null ? "" : periodOf(panel, shown, moment),
    closed,
    running: panel.fine === panel.main ? null : running,
    spark: slots === null ? null : begun(slots.slots),
    delta: shown === null ? null : deltaOf(tile, panel, shown.value, compared, moment.now),
    towardsTarget:
      tile.compare === "target" && target !== null && target > 0 && shown !== null
        ? Math.min(1, Math.max(0, shown.value / target))
        : null,
    target,
  };
}

/**
 * The value of the latest window; of several series of a metric that adds up, their sum. Once the processor is past the
 * end of its window, the zero of the window after, in which it has found nothing: at midnight a rare event's count does
 * start again, and yesterday's must not stand there all day.
 */
export function currentOf(tile: Tile, panel: Panel, store: SeriesStore, { watermark }: Moment): Current | null {
  const all = seriesOf(tile, store, panel.main);
  const latest = latestOf(all);
  if (latest === null) return null;
  const { start } = latest;
  if (watermark !== null && panel.zeroWhenEmpty && windowStart(watermark, panel.mainMs) > start) {
    return { start: windowStart(watermark, panel.mainMs), value: 0, open: true };
  }
  if (all.length > 1 && !ADDS_UP.has(panel.metric.measure)) return null;
  const points = all.flatMap((series) => series.at(start) ?? []);
  const values = points.flatMap((point) => numberIn(point.value, panel.key) ?? []);
  if (values.length === 0) return null;
  return {
    start,
    value: values.reduce((sum, value) => sum + value, 0),
    open: points.some((point) => point.state === "open"),
  };
}

/**
 * Of a window of the calendar or one that slides: the latest there is, and nothing that takes a width, such as a row of
 * those before it.
 */
function withoutWidth(tile: Tile, store: SeriesStore, moment: Moment): NumberView {
  const empty = emptyView(tile, moment);
  const { metric, window } = tile;
  if (metric === null || window === null) return empty;
  const all = seriesOf(tile, store, window);
  const latest = latestOf(all);
  if (latest === null || (all.length > 1 && !ADDS_UP.has(metric.measure))) return empty;
  const points = all.flatMap((series) => series.at(latest.start) ?? []);
  const values = points.flatMap((point) => numberIn(point.value, tile.key) ?? []);
  if (values.length === 0) return empty;
  const value = values.reduce((sum, one) => sum + one, 0);
  const target = tile.target ?? metric.target;
  const open = points.some((point) => point.state === "open");
  return {
    ...empty,
    ...standingOf(tile, store, moment),
    level: levelOf(value, tile),
    value: bigNumber(value),
    exact: exactNumber(value),
    period: periodOfWindow(latest.start, window, open, moment),
    towardsTarget: tile.compare === "target" && target !== null && target > 0 ? Math.min(1, Math.max(0, value / target)) : null,
    target,
  };
}

function latestOf(all: readonly Series[]): Point | null {
  let latest: Point | null = null;
  for (const series of all) {
    if (series.latest !== undefined && series.latest.start > (latest?.start ?? -Infinity)) latest = series.latest;
  }
  return latest;
}

function periodOf(panel: Panel, shown: Current, moment: Moment): string {
  // An average is of the time that has passed as it is; only what adds up has less than it will.
  const soFar = shown.open && panel.accumulates;
  const period = periodText(shown.start, panel.mainMs, panel.main, soFar, moment);
  const word = panel.key === null ? MEASURE_WORDS[panel.metric.measure] : keyText(panel.key);
  return word ? `${word}, ${period}` : period;
}

/** "0.99" of a quantile is spoken of as p99. */
export function keyText(key: string): string {
  const share = Number(key);
  return share > 0 && share < 1 ? `p${Number((share * 100).toFixed(3))}` : key;
}

/** The row of the last hour's windows, of all series together. */
export function slotsOfAll(
  panel: Panel,
  fine: readonly Series[],
  moment: Moment,
): { slots: Slots; last: number } | null {
  const last = lastStart(fine, panel.fineMs, moment.watermark);
  if (last === null || (fine.length > 1 && !ADDS_UP.has(panel.metric.measure))) return null;
  const filling = { zeroWhenEmpty: panel.zeroWhenEmpty, completeUpTo: moment.watermark, key: panel.key };
  const rows = fine.map((series) => slotsOf(series, last, historyLength(panel.fineMs), panel.fineMs, filling));
  return { slots: rows.length === 1 ? rows[0]! : sumOf(rows), last };
}

function begun({ closed, open }: Slots): Slots {
  const unknown = unknownAtStart([{ closed, open }], LEAST_WINDOWS);
  return { closed: closed.slice(unknown), open: open.slice(unknown) };
}

function sidesOf(panel: Panel, fine: readonly Series[], row: ReturnType<typeof slotsOfAll>, moment: Moment) {
  if (row === null) return { closed: null, running: null };
  const { closed, open } = row.slots;
  const startAt = (index: number): number => row.last - (closed.length - 1 - index) * panel.fineMs;
  const tells = (start: number): boolean =>
    fine.some((series) => series.at(start) !== undefined) || isTellingZero(panel, start, moment);
  const closedAt = closed.findLastIndex((value, index) => value !== null && tells(startAt(index)));
  const openAt = open.findLastIndex((value) => value !== null);
  return {
    closed:
      closedAt < 0
        ? null
        : { label: closedText(panel, startAt(closedAt), moment), value: shortNumber(closed[closedAt]!) },
    running:
      openAt < 0 ? null : { label: runningText(startAt(openAt), panel, moment), value: shortNumber(open[openAt]!) },
  };
}

/** Its colour says that it is still open; the words only where there is room. */
function runningText(start: number, panel: Panel, moment: Moment): string {
  const current = start <= moment.now && moment.now < start + panel.fineMs;
  return current
    ? periodText(start, panel.fineMs, panel.fine, true, moment)
    : windowName(start, panel.fineMs, panel.fine, moment);
}

function emptyView(tile: Tile, moment: Moment): NumberView {
  return {
    freshness: freshnessOf({ ageMs: null, expectedMs: Infinity, countsEvents: false }, moment),
    level: "none",
    ageMs: null,
    value: null,
    exact: "",
    unit: tile.unit,
    period: "",
    closed: null,
    running: null,
    spark: null,
    delta: null,
    towardsTarget: null,
    target: null,
  };
}
