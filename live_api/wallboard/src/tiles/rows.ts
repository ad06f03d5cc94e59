/** The present value of each series that a tile is about: what bars and tables list. */

import type { Tile } from "../board";
import { seriesLabel } from "./line";
import { DAY_MS, windowMs, windowStart, windowText } from "../durations";
import { freshnessOf, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import { ageOf, panelOf, seriesOf } from "../panels";
import { numberIn } from "../protocol";
import type { Series, SeriesStore } from "../store";
import { periodText } from "../periods";

export interface Rows {
  /** Start of the window that the values are of; null: nothing is known. */
  start: number | null;
  /** That window goes on. */
  open: boolean;
  /** "today so far" */
  period: string;
  rows: SeriesRow[];
}

export interface SeriesRow {
  id: string;
  series: Series;
  label: string;
  /** null: it had no value lately. */
  value: number | null;
  /** The value is that of the window before: this one has none yet. */
  former: boolean;
  /** Stands for many series that have no place of their own. */
  other: boolean;
}

/** A window of these in which nothing happened is a zero, rather than unknown. */
const COUNTED = new Set(["count", "sum"]);
const OTHER = "__other__";

export function isCounted(tile: Tile): boolean {
  return COUNTED.has(tile.metric?.measure ?? "");
}

/** Dimensions that tell the series of a tile apart: those it does not fix. */
export function telling(tile: Tile): string[] {
  const { by } = tile.metric ?? { by: [] };
  const free = by.filter((name) => !(name in tile.dimensions));
  return free.length > 0 ? free : [...by];
}

/** What a series is called on this tile. */
export function labelOf(tile: Tile, series: Series, by: readonly string[] = telling(tile)): string {
  return by.length === 0 ? tile.title : seriesLabel(series.dimensions, by);
}

/** Whether a series stands for many that have no place of their own. */
export function isOther(series: Series, by: readonly string[]): boolean {
  return by.length > 0 && by.every((name) => series.dimensions[name] === OTHER);
}

export function rowsOf(tile: Tile, store: SeriesStore, moment: Moment): Rows {
  const { metric, window } = tile;
  if (metric === null || window === null) return { start: null, open: false, period: "", rows: [] };
  const all = seriesOf(tile, store, window);
  if (all.length === 0) return { start: null, open: false, period: "", rows: [] };
  const width = windowMs(window);
  const counted = isCounted(tile);
  let start = Math.max(...all.map((series) => series.latest!.start));
  let open = all.some((series) => series.at(start)?.state === "open");
  // Once the processor is past the end of the window, a count starts again, whether anything has come or not.
  if (counted && width !== null && moment.watermark !== null && windowStart(moment.watermark, width) > start) {
    start = windowStart(moment.watermark, width);
    open = true;
  }
  const by = telling(tile);
  const rows = all.map((series): SeriesRow => {
    const point = series.at(start);
    const latest = series.latest!;
    const isFormer = point === undefined && !counted && width !== null && latest.start >= start - width;
    const told = point ?? (isFormer ? latest : null);
    return {
      id: series.id,
      series,
      label: labelOf(tile, series, by),
      value: told !== null ? numberIn(told.value, tile.key) : counted ? 0 : null,
      former: isFormer,
      other: isOther(series, by),
    };
  });
  return { start, open, period: periodOf(start, window, open, moment), rows };
}

/** Of a window of the calendar or one that slides, which have no width, as far as its name says. */
const CALENDAR: Record<string, string> = { hour: "this hour", day: "today", week: "this week", month: "this month" };

export function periodOf(start: number, window: string, open: boolean, moment: Moment): string {
  const width = windowMs(window);
  if (width !== null) return periodText(start, width, window, open, moment);
  const [span = "", step] = window.split("/");
  if (!open) return `${CALENDAR[window] ? window : windowText(span)} from ${moment.zone.dateAndYear(start)}, ${moment.zone.minute(start)}`;
  return step === undefined ? `${CALENDAR[window] ?? window} so far` : `the last ${windowText(span).replace(/d$/, "days")}`;
}

export interface Standing {
  freshness: Freshness;
  ageMs: number | null;
}

/** How current a tile of one metric is, whatever it draws. */
export function standingOf(tile: Tile, store: SeriesStore, moment: Moment): Standing {
  const main = tile.window === null ? [] : seriesOf(tile, store, tile.window);
  const fine = tile.fine === null ? [] : seriesOf(tile, store, tile.fine);
  const ageMs = ageOf(main.length > 0 ? main : fine, fine, moment);
  const expectedMs = panelOf(tile)?.expectedMs ?? windowMs(tile.fine ?? "") ?? DAY_MS;
  return { ageMs, freshness: freshnessOf({ ageMs, expectedMs, countsEvents: isCounted(tile) }, moment) };
}

/** What a tile is drawn from is the same while these are: the moment counts by the second. */
export function drawnFrom(tile: Tile, store: SeriesStore, moment: Moment): readonly unknown[] {
  const groups = [tile.window, tile.fine].map((window) =>
    tile.metric === null || window === null ? undefined : store.group(tile.metric.name, window),
  );
  return [tile, ...groups, ...groups.map((group) => group?.version), moment.watermark, moment.zone, Math.floor(moment.now / 1000)];
}
