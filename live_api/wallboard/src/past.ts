/** A range of the past of a tile, as the store knows it: what to ask for, what is answered, and the chart of it. */

import type { Tile } from "./board";
import { HOUR_MS, MINUTE_MS, windowMs, windowText } from "./durations";
import { shortNumber } from "./format";
import { isRecord, number, numbersOf, string, textsOf } from "./json";
import type { Panel } from "./panels";
import { numberIn, type Value } from "./protocol";
import type { SeriesStore } from "./store";
import { MAX_LINES, seriesLabel, type Chart, type ChartLine } from "./tiles/line";

export interface Range {
  /** As it stands on its button. */
  label: string;
  /** "the last …", for a screen reader. */
  words: string;
  ms: number;
  /** Fine enough to see a course in it, coarse enough for a screen; null leaves the windows to the server. */
  stepMs: number | null;
  step: string;
  compare: "previous" | "yesterday" | "last_week";
  compared: string;
}

const DAY = 24 * HOUR_MS;
const WEEK_BEFORE = { compare: "last_week", compared: "the week before" } as const;
export const RANGES: readonly Range[] = [
  { label: "1 h", words: "hour", ms: HOUR_MS, stepMs: null, step: "", compare: "yesterday", compared: "the day before" },
  { label: "24 h", words: "24 hours", ms: DAY, stepMs: 5 * MINUTE_MS, step: "5m", compare: "yesterday", compared: "the day before" },
  { label: "7 d", words: "7 days", ms: 7 * DAY, stepMs: HOUR_MS, step: "1h", ...WEEK_BEFORE },
  { label: "30 d", words: "30 days", ms: 30 * DAY, stepMs: HOUR_MS, step: "1h", compare: "previous", compared: "the 30 days before" },
];

/** Measures whose windows the server puts together. */
const COMBINES = new Set(["count", "sum", "mean", "min", "max", "rate"]);

/** What is asked for: the range that ends `back` ranges before now, or that many before. */
export function pastQuery(tile: Tile, panel: Panel, range: Range, compare: boolean, back: number, now: number): URLSearchParams {
  const query = new URLSearchParams({ metric: panel.metric.name, shape: "columns", limit: String(Math.min(MAX_LINES, tile.limit)) });
  for (const [name, value] of Object.entries(tile.dimensions)) query.set(`dimension.${name}`, value);
  const step = range.stepMs;
  const fits = panel.metric.windows.some((one) => step !== null && (windowMs(one) ?? Infinity) <= step && step % windowMs(one)! === 0);
  if (fits && (COMBINES.has(panel.metric.measure) || panel.metric.windows.includes(range.step))) query.set("step", range.step);
  if (panel.zeroWhenEmpty) query.set("fill", "zero");
  if (compare) query.set("compare", range.compare);
  // The same question for a minute, so that a browser that has the answer is only told that it has.
  const to = Math.ceil(now / MINUTE_MS) * MINUTE_MS - back * range.ms;
  query.set("from", String(to - range.ms));
  query.set("to", String(to));
  return query;
}

export interface PastSeries {
  dimensions: Record<string, string>;
  values: (Value | null)[];
  /** Indexes of windows that may still grow. */
  open: ReadonlySet<number>;
  compared: (Value | null)[] | null;
}

export interface Past {
  window: string;
  step: string;
  starts: number[];
  series: PastSeries[];
  total: number;
}

export function parsePast(sent: unknown): Past {
  if (!isRecord(sent) || !Array.isArray(sent.starts) || !Array.isArray(sent.series)) {
    throw new TypeError("/v1/points: expected an object with starts and series");
  }
  const starts = (sent.starts as unknown[]).flatMap((one) => number(one) ?? []);
  const series = (sent.series as unknown[]).flatMap((one): PastSeries[] => {
    const values = isRecord(one) ? valuesIn(one.values) : null;
    if (!isRecord(one) || values === null || values.length !== starts.length) return [];
    const open = Array.isArray(one.open) ? (one.open as unknown[]).flatMap((index) => number(index) ?? []) : [];
    return [{ dimensions: textsOf(one.dimensions), values, open: new Set(open), compared: valuesIn(one.compared) }];
  });
  const [window, step] = [string(sent.window) ?? "", string(sent.step) ?? ""];
  return { window, step, starts, series, total: number(sent.series_total) ?? series.length };
}

function valuesIn(sent: unknown): (Value | null)[] | null {
  return Array.isArray(sent) ? (sent as unknown[]).map((one) => number(one) ?? numbersOf(one)) : null;
}

/** "in windows of 5 min" */
export function stepText(past: Past): string {
  return past.step === "" ? "" : `in windows of ${windowText(past.step)}`;
}

export function idOf(dimensions: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(dimensions).sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)));
}

/**
 * The chart of a range. `colours` are those that lines have on the tile, by id. Where the windows are ones that come
 * live, `live` has newer numbers of the latest of them, and of those that have begun since.
 */
export function chartOfPast(past: Past, tile: Tile, panel: Panel, colours: ReadonlyMap<string, number | null>, live: SeriesStore | null): Chart {
  const width = windowMs(past.step);
  const group = live === null || past.step !== past.window ? undefined : live.group(panel.metric.name, past.step);
  const starts = [...past.starts];
  const last = starts.at(-1);
  if (group !== undefined && width !== null && last !== undefined) {
    const latest = live!.latestOf(panel.metric.name, past.step) ?? last;
    for (let start = last + width; start <= latest && starts.length < past.starts.length + 60; start += width) starts.push(start);
  }
  const by = panel.metric.by.filter((name) => !(name in tile.dimensions));
  const taken = new Set<number>();
  const free = (): number => {
    let colour = 0;
    while (taken.has(colour)) colour += 1;
    return colour;
  };
  for (const { dimensions } of past.series) {
    const colour = colours.get(idOf(dimensions));
    if (colour !== null && colour !== undefined) taken.add(colour);
  }
  const sized = past.series.slice(0, MAX_LINES).map((one): ChartLine & { size: number } => {
    const id = idOf(one.dimensions);
    const closed = new Array<number | null>(starts.length).fill(null);
    const open = new Array<number | null>(starts.length).fill(null);
    const put = (index: number, value: Value | null, isOpen: boolean): void => {
      const found = value === null ? null : numberIn(value, panel.key);
      closed[index] = isOpen ? null : found;
      open[index] = isOpen ? found : null;
    };
    one.values.forEach((value, index) => put(index, value, one.open.has(index)));
    const held = group?.series.get(id);
    for (let index = Math.max(0, past.starts.length - 60); held !== undefined && index < starts.length; index += 1) {
      const point = held.at(starts[index]!);
      if (point !== undefined) put(index, point.value, point.state === "open");
    }
    const known = closed.map((value, index) => value ?? open[index] ?? null);
    const total = known.reduce<number>((sum, value) => sum + (value ?? 0), 0);
    const latest = known.findLast((value) => value !== null) ?? null;
    const isOther = Object.values(one.dimensions).every((value) => value === "__other__") && Object.keys(one.dimensions).length > 0;
    let colour = isOther ? null : (colours.get(id) ?? null);
    if (colour === null && !isOther) taken.add((colour = free()));
    const compared = one.compared?.map((value) => (value === null ? null : numberIn(value, panel.key))) ?? null;
    const ahead = compared === null ? null : [...compared, ...new Array<null>(starts.length - compared.length).fill(null)];
    const none = new Array<null>(starts.length).fill(null);
    return {
      id,
      label: by.length === 0 ? tile.title : seriesLabel(one.dimensions, by),
      colour,
      slots: { closed, open },
      // Of what adds up; of anything else a sum says nothing.
      total: panel.zeroWhenEmpty ? shortNumber(total) : "",
      last: latest === null ? "–" : shortNumber(latest),
      level: "none",
      band: null,
      marks: [],
      ahead: ahead === null ? null : { value: ahead, lower: none, upper: none },
      size: panel.zeroWhenEmpty ? total : (latest ?? -Infinity),
    };
  });
  sized.sort((one, other) => other.size - one.size);
  return {
    freshness: "live",
    level: "none",
    ageMs: null,
    times: starts.map((start) => start / 1000),
    coming: 0,
    lines: sized,
    hidden: past.total - sized.length,
    totalLabel: panel.zeroWhenEmpty ? "in all" : "",
    lastLabel: "latest",
  };
}
