/** What a chart of many series shows: the few with the largest recent values, on one row of windows. */

import { aheadOf, foreseen, forecastsOf, reachOf, type Ahead, type Forecast } from "../ahead";
import type { Band } from "../bands";
import type { Tile } from "../board";
import { shortNumber } from "../format";
import { freshnessOf, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import { ageOf, historyLength, panelOf, seriesOf, type Panel } from "../panels";
import { closedText, isTellingZero, periodText } from "../periods";
import { numberIn, type Point } from "../protocol";
import { lastStart, slotsOf, unknownAtStart, type Slots } from "../slots";
import type { Series, SeriesStore } from "../store";
import { levelOf, worst, type Level } from "../threshold";

export const MAX_LINES = 6;
/** Windows that count as recent for who is on the chart. */
const RECENT_WINDOWS = 30;
/** A chart has at least so many windows, so that two points are not drawn as a trend. */
const LEAST_WINDOWS = 24;
/** Lines change places at most this often: a legend that shuffles cannot be read. */
const RANK_EVERY_MS = 3_000;
/** Bands lie over one another: of more lines than this none is shown, and ways ahead have no ends. */
const MOST_BANDS = 2;
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
  /** Of that last value. */
  level: Level;
  /** Between what and what it was to be expected, where a rule knows; null on lines without any. */
  band: { lower: (number | null)[]; upper: (number | null)[] } | null;
  /** Which of its closed windows were out of the ordinary. */
  marks: number[];
  /** Where it goes on, from its last closed window; null where nothing is forecast of it. */
  ahead: Ahead | null;
}

export interface Chart {
  freshness: Freshness;
  level: Level;
  ageMs: number | null;
  /** Starts of the windows, epoch seconds, for uPlot. */
  times: number[];
  /** How many of those windows are yet to come. */
  coming: number;
  lines: ChartLine[];
  /** Series that are not on the chart. */
  hidden: number;
  totalLabel: string;
  lastLabel: string;
}

const NO_BANDS: ReadonlyMap<string, Band> = new Map();

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
    most: number,
    weight: (series: Series) => number,
    place: (series: Series) => number,
    now: number,
  ): Series[] {
    const byId = new Map(candidates.map((series) => [series.id, series]));
    const shown = Math.min(most, candidates.length);
    const complete = this.#ids.length === shown && this.#ids.every((id) => byId.has(id));
    if (!complete || Math.abs(now - this.#rankedAt) >= RANK_EVERY_MS) {
      this.#rankedAt = now;
      const largest = byLargest(candidates, weight).slice(0, most);
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

/** `bands`: what was to be expected, by the id of a series. */
export function chartOf(
  tile: Tile,
  store: SeriesStore,
  ranking: Ranking,
  moment: Moment,
  bands: ReadonlyMap<string, Band> = NO_BANDS,
): Chart {
  const panel = panelOf(tile);
  const chart: Chart = {
    freshness: freshnessOf({ ageMs: null, expectedMs: Infinity, countsEvents: false }, moment),
    level: "none",
    ageMs: null,
    times: [],
    coming: 0,
    lines: [],
    hidden: 0,
    totalLabel: "",
    lastLabel: "",
  };
  if (panel === null) return chart;
  const { metric, fineMs } = panel;
  const windows = historyLength(fineMs);
  const all = seriesOf(tile, store, panel.fine);
  const mains = seriesOf(tile, store, panel.main);
  chart.ageMs = ageOf(all, all, moment);
  chart.freshness = freshnessOf(
    { ageMs: chart.ageMs, expectedMs: panel.expectedMs, countsEvents: panel.zeroWhenEmpty },
    moment,
  );
  const last = lastStart(all, fineMs, moment.watermark);
  if (last === null) return chart;

  const first = last - (windows - 1) * fineMs;
  const recentFrom = last - (RECENT_WINDOWS - 1) * fineMs;
  const candidates = all.filter((series) => series.latest!.start >= first);
  const mainStart = lastStart(mains, panel.mainMs, null);
  const totals = new Map<string, number>();
  for (const series of mains) {
    const point = mainStart === null ? undefined : series.at(mainStart);
    const total = point === undefined ? null : numberIn(point.value, panel.key);
    if (total !== null) totals.set(series.id, total);
  }
  const weight = (series: Series): number => recentWeight(panel, series, recentFrom);
  const place = (series: Series): number => totals.get(series.id) ?? -Number.MAX_VALUE;
  const chosen = ranking.choose(candidates, Math.min(MAX_LINES, tile.limit), weight, place, moment.now);
  const filling = { zeroWhenEmpty: panel.zeroWhenEmpty, completeUpTo: moment.watermark, key: panel.key };
  const lines = chosen.map((series): ChartLine => {
    const total = totals.get(series.id);
    return {
      id: series.id,
      label: seriesLabel(series.dimensions, metric.by.filter((name) => !(name in tile.dimensions))) || tile.title,
      colour: ranking.colour(series.id),
      slots: slotsOf(series, last, windows, fineMs, filling),
      total: total === undefined ? "–" : shortNumber(total),
      last: "–",
      level: "none",
      band: null,
      marks: [],
      ahead: null,
    };
  });
  const startAt = (index: number): number => first + index * fineMs;
  const tells = (index: number): boolean =>
    isTellingZero(panel, startAt(index), moment) || chosen.some((series) => series.at(startAt(index)) !== undefined);
  const closedAt = lastCommon(lines.map(({ slots }) => slots.closed), tells);
  for (const line of lines) {
    const value = line.slots.closed[closedAt] ?? null;
    if (value === null) continue;
    line.last = shortNumber(value);
    line.level = levelOf(value, tile);
  }
  const shown = unknownAtStart(lines.map(({ slots }) => slots), LEAST_WINDOWS);
  for (const { slots } of lines) {
    slots.closed.splice(0, shown);
    slots.open.splice(0, shown);
  }
  const begin = first + shown * fineMs;
  judge(lines, bands, begin, fineMs);
  const forecasts = forecastsOf(tile, store, panel.fine, fineMs);
  const coming = reachOf(lines.flatMap(({ id }) => forecasts.get(id) ?? []), last, fineMs);
  lookAhead(lines, forecasts, { begin, last, coming, fineMs });
  return {
    ...chart,
    level: worst(lines.map(({ level }) => level)),
    times: Array.from({ length: windows - shown + coming }, (_, index) => (begin + index * fineMs) / 1000),
    coming,
    lines,
    hidden: candidates.length - chosen.length,
    totalLabel:
      mainStart === null || panel.main === panel.fine ? "" : periodText(mainStart, panel.mainMs, panel.main, true, moment),
    lastLabel: closedAt < 0 ? "" : closedText(panel, startAt(closedAt), moment),
  };
}

/** Says of lines from `first` on what was to be expected of them. */
function judge(lines: readonly ChartLine[], bands: ReadonlyMap<string, Band>, first: number, fineMs: number): void {
  for (const line of lines) {
    const band = bands.get(line.id);
    if (band === undefined) continue;
    const judged = line.slots.closed.map((value, index) => (value === null ? undefined : band.get(first + index * fineMs)));
    line.marks = judged.flatMap((one, index) => (one?.anomalous === true ? [index] : []));
    const lower = judged.map((one) => one?.lower ?? null);
    const upper = judged.map((one) => one?.upper ?? null);
    if (lower.some((value, index) => value !== null && upper[index] !== null)) line.band = { lower, upper };
  }
  if (lines.filter(({ band }) => band !== null).length > MOST_BANDS) for (const line of lines) line.band = null;
}

interface Span {
  /** Starts of the first window of the chart, and of the last that is not yet to come. */
  begin: number;
  last: number;
  coming: number;
  fineMs: number;
}

/** Says of lines where they go on, and makes room for that. What was forecast is the band of a line without a rule. */
function lookAhead(lines: readonly ChartLine[], forecasts: ReadonlyMap<string, Forecast>, span: Span): void {
  const { begin, last, coming, fineMs } = span;
  for (const line of lines) {
    const { closed, open } = line.slots;
    const forecast = forecasts.get(line.id);
    if (forecast !== undefined && line.band === null) {
      const band = foreseen(forecast, closed, begin, fineMs);
      if (band.lower.some((lower) => lower !== null)) line.band = band;
    }
    const known = forecast === undefined ? null : (closed[Math.round((forecast.origin - begin) / fineMs)] ?? null);
    for (let added = 0; added < coming; added += 1) {
      closed.push(null);
      open.push(null);
    }
    if (forecast !== undefined) line.ahead = aheadOf(forecast, known, begin, closed.length, fineMs, last);
    for (const edge of line.band === null ? [] : [line.band.lower, line.band.upper]) {
      edge.push(...new Array<null>(closed.length - edge.length).fill(null));
    }
  }
  if (lines.filter(({ band }) => band !== null).length > MOST_BANDS) for (const line of lines) line.band = null;
  const ways = lines.flatMap(({ ahead }) => ahead ?? []);
  if (ways.length > MOST_BANDS) for (const way of ways) way.lower = way.upper = way.value.map(() => null);
}

/** One window for the whole column: the latest that all lines know closed, or if there is none, the latest that any does. */
function lastCommon(columns: readonly (number | null)[][], tells: (index: number) => boolean): number {
  let any = -1;
  const count = columns[0]?.length ?? 0;
  for (let index = count - 1; index >= Math.max(0, count - RECENT_WINDOWS); index -= 1) {
    const known = columns.filter((column) => (column[index] ?? null) !== null).length;
    if (known === 0 || !tells(index)) continue;
    if (known === columns.length) return index;
    if (any < 0) any = index;
  }
  return any;
}

/** The sum of what came recently, or for what does not add up, the latest value. */
function recentWeight(panel: Panel, series: Series, from: number): number {
  const numberAt = (point: Point | undefined): number =>
    point === undefined ? 0 : Math.abs(numberIn(point.value, panel.key) ?? 0);
  if (!panel.accumulates) return numberAt(series.latest);
  let sum = 0;
  for (let index = series.points.length - 1; index >= 0; index -= 1) {
    const point = series.points[index]!;
    if (point.start < from) break;
    sum += numberAt(point);
  }
  return sum;
}

function isOther(series: Series | undefined): boolean {
  const values = Object.values(series?.dimensions ?? {});
  return values.length > 0 && values.every((value) => value === OTHER);
}
