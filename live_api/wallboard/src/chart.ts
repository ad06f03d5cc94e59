/** What a chart of many series shows: the few with the largest recent values, on one row of windows. */

import { shortNumber } from "./format";
import { CHART_WINDOWS, type Panel } from "./panels";
import { lastStart, slotsOf, type Slots } from "./slots";
import { closedText, isTellingZero, periodText, stateOf, type Moment, type TileState } from "./tile";
import type { Series, SeriesStore } from "./store";

export const MAX_LINES = 6;
/** Windows that count as recent for who is on the chart. */
const RECENT_WINDOWS = 30;
/** A chart has at least so many windows, so that two points are not drawn as a trend. */
const LEAST_WINDOWS = 24;
/** Lines change places at most this often: a legend that shuffles cannot be read. */
const RANK_EVERY_MS = 3_000;
const OTHER = "__other__";
const NONE = "__none__";

export interface ChartLine {
  id: string;
  label: string;
  /** Which of the colours; null is grey, for what stands for many. */
  colour: number | null;
  slots: Slots;
  /** Of the main window, so far. */
  total: string;
  /** Of the last closed small window. */
  last: string;
}

export interface Chart {
  state: TileState;
  ageMs: number | null;
  /** Starts of the windows, epoch seconds, for uPlot. */
  times: number[];
  lines: ChartLine[];
  /** Series that are not on the chart. */
  hidden: number;
  totalLabel: string;
  lastLabel: string;
}

/** "#en.wikipedia", "mobile · Paris", "other", "(none)". */
export function seriesLabel(dimensions: Readonly<Record<string, string>>, by: readonly string[]): string {
  const values = by.map((name) => dimensions[name] ?? NONE);
  if (values.every((value) => value === OTHER)) return "other";
  return values.map((value) => (value === OTHER ? "other" : value === NONE || value === "" ? "(none)" : value)).join(" · ");
}

/** Remembers who is on the chart and in which colour, so that a line keeps its colour for as long as it is shown. */
export class Ranking {
  #ids: string[] = [];
  #colours = new Map<string, number>();
  #rankedAt = -Infinity;

  /** The series with the largest weight, in the order of their place, largest first. */
  choose(
    candidates: readonly Series[],
    weight: (series: Series) => number,
    place: (series: Series) => number,
    now: number,
  ): Series[] {
    const byId = new Map(candidates.map((series) => [series.id, series]));
    const shown = Math.min(MAX_LINES, candidates.length);
    const complete = this.#ids.length >= shown && this.#ids.every((id) => byId.has(id));
    if (!complete || Math.abs(now - this.#rankedAt) >= RANK_EVERY_MS) {
      this.#rankedAt = now;
      const largest = byLargest(candidates, weight).slice(0, MAX_LINES);
      this.#ids = byLargest(largest, place).map((series) => series.id);
      this.#paint(byId);
    }
    return this.#ids.flatMap((id) => byId.get(id) ?? []);
  }

  colour(id: string): number | null {
    return this.#colours.get(id) ?? null;
  }

  #paint(byId: ReadonlyMap<string, Series>): void {
    for (const id of this.#colours.keys()) if (!this.#ids.includes(id)) this.#colours.delete(id);
    const used = new Set(this.#colours.values());
    for (const id of this.#ids) {
      if (this.#colours.has(id) || isOther(byId.get(id))) continue;
      let colour = 0;
      while (used.has(colour)) colour += 1;
      used.add(colour);
      this.#colours.set(id, colour);
    }
  }
}

/** Equals stay in their order. */
function byLargest(all: readonly Series[], measure: (series: Series) => number): Series[] {
  const measured = all.map((series) => ({ series, size: measure(series) }));
  measured.sort((one, other) => other.size - one.size);
  return measured.map(({ series }) => series);
}

export function chartOf(panel: Panel, store: SeriesStore, ranking: Ranking, moment: Moment): Chart {
  const { metric, fineMs } = panel;
  const fine = store.group(metric.name, panel.fine);
  const main = store.group(metric.name, panel.main);
  const all = fine ? [...fine.series.values()].filter((series) => series.latest !== undefined) : [];
  const last = lastStart(all, fineMs, moment.watermark);
  const asOf = Math.max(-Infinity, ...all.map((series) => Math.max(series.changedAt, series.vouchedAt)));
  const ageMs = asOf === -Infinity ? null : Math.max(0, moment.now - asOf);
  const chart: Chart = {
    state: stateOf(panel, ageMs, moment),
    ageMs,
    times: [],
    lines: [],
    hidden: 0,
    totalLabel: "",
    lastLabel: "",
  };
  if (last === null) return chart;

  const first = last - (CHART_WINDOWS - 1) * fineMs;
  const recentFrom = last - (RECENT_WINDOWS - 1) * fineMs;
  const candidates = all.filter((series) => series.latest!.start >= first);
  const mainStart = main ? lastStart(main.series.values(), panel.mainMs, null) : null;
  const totalOf = (series: Series): number | null =>
    mainStart === null ? null : (main?.series.get(series.id)?.at(mainStart)?.value ?? null);
  const weight = (series: Series): number => recentWeight(panel, series, recentFrom);
  const chosen = ranking.choose(candidates, weight, (series) => totalOf(series) ?? -Number.MAX_VALUE, moment.now);
  const filling = { zeroWhenEmpty: panel.zeroWhenEmpty, completeUpTo: moment.watermark };
  const lines = chosen.map((series) => {
    const slots = slotsOf(series, last, CHART_WINDOWS, fineMs, filling);
    const total = totalOf(series);
    return {
      id: series.id,
      label: seriesLabel(series.dimensions, metric.by),
      colour: ranking.colour(series.id),
      slots,
      total: total === null ? "–" : shortNumber(total),
      last: "–",
    };
  });
  const startAt = (index: number): number => first + index * fineMs;
  const tells = (index: number): boolean =>
    isTellingZero(panel, startAt(index), moment) || chosen.some((series) => series.at(startAt(index)) !== undefined);
  const closedAt = lastCommon(lines.map(({ slots }) => slots.closed), tells);
  for (const line of lines) {
    const value = line.slots.closed[closedAt] ?? null;
    if (value !== null) line.last = shortNumber(value);
  }
  const shown = shownFrom(lines.map(({ slots }) => slots));
  for (const { slots } of lines) {
    slots.closed.splice(0, shown);
    slots.open.splice(0, shown);
  }
  return {
    ...chart,
    times: Array.from({ length: CHART_WINDOWS - shown }, (_, index) => (first + (shown + index) * fineMs) / 1000),
    lines,
    hidden: candidates.length - chosen.length,
    totalLabel: mainStart === null ? "" : periodText(mainStart, panel.mainMs, panel.main, true, moment),
    lastLabel: closedAt < 0 ? "" : closedText(panel, startAt(closedAt), moment),
  };
}

/** What is young starts at the left edge rather than in the last corner, once it is a few windows old. */
function shownFrom(rows: readonly Slots[]): number {
  const isKnown = (index: number): boolean =>
    rows.some(({ closed, open }) => (closed[index] ?? null) !== null || (open[index] ?? null) !== null);
  let index = 0;
  while (index < CHART_WINDOWS - LEAST_WINDOWS && !isKnown(index)) index += 1;
  return index;
}

/** One window for the whole column: the latest that all lines know closed, or if there is none, the latest that any does. */
function lastCommon(columns: readonly (number | null)[][], tells: (index: number) => boolean): number {
  let any = -1;
  for (let index = CHART_WINDOWS - 1; index >= CHART_WINDOWS - RECENT_WINDOWS; index -= 1) {
    const known = columns.filter((column) => (column[index] ?? null) !== null).length;
    if (known === 0 || !tells(index)) continue;
    if (known === columns.length) return index;
    if (any < 0) any = index;
  }
  return any;
}

/** The sum of what came recently, or for what does not add up, the latest value. */
function recentWeight(panel: Panel, series: Series, from: number): number {
  if (!panel.accumulates) return Math.abs(series.latest?.value ?? 0);
  let sum = 0;
  for (let index = series.points.length - 1; index >= 0; index -= 1) {
    const point = series.points[index]!;
    if (point.start < from) break;
    sum += Math.abs(point.value);
  }
  return sum;
}

function isOther(series: Series | undefined): boolean {
  return series !== undefined && Object.values(series.dimensions).every((value) => value === OTHER);
}
