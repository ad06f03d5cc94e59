/** What a table tile lists: a row a series, with its value now, that of the last closed small window, and how it moves. */

import type { Tile } from "../board";
import { DAY_MS, MINUTE_MS, windowMs, windowText } from "../durations";
import { exactNumber, shortNumber, type Zone } from "../format";
import type { Moment } from "../moment";
import { seriesOf } from "../panels";
import { numberIn } from "../protocol";
import { lastStart } from "../slots";
import type { Series, SeriesStore } from "../store";
import { levelOf, type Level } from "../threshold";
import { rowsOf, isCounted, telling } from "./rows";
import type { Order } from "./order";

export interface Row {
  id: string;
  /** The value of each dimension. */
  names: string[];
  value: string;
  exact: string;
  level: Level;
  former: boolean;
  other: boolean;
  /** Of the last closed small window. */
  last: string;
  change: Change | null;
}

export interface Change {
  text: string;
  direction: "up" | "down" | "same";
}

export interface Table {
  /** Names of the dimensions. */
  columns: string[];
  /** What the values are of: "today so far". */
  period: string;
  /** Which small window is the last: "1 min from 14:03"; empty while none is known. */
  lastLabel: string;
  rows: Row[];
  hidden: number;
}

export function tableOf(tile: Tile, store: SeriesStore, order: Order, moment: Moment, limit = tile.limit): Table {
  const { rows, period } = rowsOf(tile, store, moment);
  const columns = telling(tile);
  const shown = order.of(rows.map((row) => ({ ...row, size: row.value })), Math.min(limit, tile.limit), moment.now);
  const fine = fineOf(tile, store, moment);
  return {
    columns,
    period,
    lastLabel: fine === null ? "" : fine.label,
    rows: shown.map((row) => {
      const series = fine?.series.get(row.id);
      const last = fine === null ? null : closedValue(tile, series, fine.start, moment);
      const before = fine === null ? null : closedValue(tile, series, fine.start - fine.width, moment);
      return {
        id: row.id,
        names: columns.map((name) => nameOf(row.series.dimensions[name])),
        value: row.value === null ? "–" : shortNumber(row.value),
        exact: row.value === null ? "" : exactNumber(row.value),
        level: levelOf(row.value, tile),
        former: row.former,
        other: row.other,
        last: last === null ? "–" : shortNumber(last),
        change: last === null || before === null ? null : changeOf(last, before),
      };
    }),
    hidden: rows.length - shown.length,
  };
}

/**
 * "+12", "−3", "±0": the sign is always there, as red and green would mean something else for each metric. As exact as
 * the larger of the two is told, and no more: 67.9 that was 68.1 has moved by 0.2.
 */
export function changeOf(value: number, before: number): Change {
  const difference = value - before;
  const told = shortNumber(Math.max(Math.abs(value), Math.abs(before)));
  const decimals = /^[\d,]*\.?(\d*)$/.exec(told)?.[1]?.length ?? null;
  const size = decimals === null ? shortNumber(Math.abs(difference)) : Math.abs(difference).toFixed(decimals);
  if (Number(size) === 0) return { text: "±0", direction: "same" };
  return difference > 0 ? { text: `+${size}`, direction: "up" } : { text: `\u2212${size}`, direction: "down" };
}

interface Fine {
  series: ReadonlyMap<string, Series>;
  width: number;
  /** Of the last window that is closed, the same for all rows. */
  start: number;
  label: string;
}

function fineOf(tile: Tile, store: SeriesStore, moment: Moment): Fine | null {
  const { metric, fine } = tile;
  const width = fine === null ? null : windowMs(fine);
  if (metric === null || fine === null || width === null) return null;
  const group = store.group(metric.name, fine);
  const all = seriesOf(tile, store, fine);
  let start = lastStart(all, width, moment.watermark);
  if (group === undefined || start === null) return null;
  const isOpen = (at: number): boolean =>
    moment.watermark !== null ? at + width > moment.watermark : all.some((series) => series.at(at)?.state === "open");
  while (isOpen(start)) start -= width;
  return { series: group.series, width, start, label: `${windowText(fine)} from ${timeText(start, width, moment.zone)}` };
}

/** When a window begins, as exactly as its width asks for. */
export function timeText(start: number, width: number, zone: Zone): string {
  return width >= DAY_MS ? zone.date(start) : width >= MINUTE_MS ? zone.minute(start) : zone.time(start);
}

/** A closed window of a count without a point is a zero, once the series has been heard of at all. */
function closedValue(tile: Tile, series: Series | undefined, start: number, moment: Moment): number | null {
  const point = series?.at(start);
  if (point !== undefined) return numberIn(point.value, tile.key);
  const earliest = series?.points[0];
  const isComplete = moment.watermark !== null && earliest !== undefined && start > earliest.start;
  return isCounted(tile) && isComplete ? 0 : null;
}

function nameOf(value: string | undefined): string {
  if (value === "__other__") return "other";
  return value === undefined || value === "__none__" || value === "" ? "(none)" : value;
}
