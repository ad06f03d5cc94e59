/** What a heat map draws: the last hour of the largest series, a cell for each small window. */

import type { Tile } from "../board";
import { MINUTE_MS, windowMs } from "../durations";
import { exactNumber, type Zone } from "../format";
import type { Moment } from "../moment";
import { historyLength, seriesOf } from "../panels";
import { numberIn } from "../protocol";
import { lastStart, slotsOf, unknownAtStart } from "../slots";
import type { Series, SeriesStore } from "../store";
import { isCounted, isOther, labelOf, telling } from "./rows";
import type { Order } from "./order";
import { timeText } from "./table";
import { stepOf, stepsOf, type Steps } from "./steps";

export interface Cell {
  /** null: unknown. */
  value: number | null;
  /** The window goes on: the value is so far. */
  open: boolean;
  /** Of the scale; null for what is unknown. */
  step: number | null;
}

export interface HeatRow {
  id: string;
  label: string;
  other: boolean;
  cells: Cell[];
}

export interface Heat {
  /** Starts of the windows, epoch ms, one a column. */
  starts: number[];
  width: number;
  rows: HeatRow[];
  hidden: number;
  steps: Steps;
}

/** Of what is above zero; below it there are half as many. */
const SHADES = 6;
/** More columns than this, and a cell is no more than a hair. */
const MOST_COLUMNS = 72;
/** Fewer than these, and two windows would be drawn as halves of an hour. */
const LEAST_COLUMNS = 24;

export function heatOf(tile: Tile, store: SeriesStore, order: Order, moment: Moment, limit = tile.limit): Heat {
  const { metric, fine } = tile;
  const width = fine === null ? null : windowMs(fine);
  const nothing: Heat = { starts: [], width: width ?? 0, rows: [], hidden: 0, steps: stepsOf([], true) };
  if (metric === null || fine === null || width === null) return nothing;
  const all = seriesOf(tile, store, fine);
  const last = lastStart(all, width, moment.watermark);
  if (last === null) return nothing;

  const count = Math.min(MOST_COLUMNS, historyLength(width));
  const first = last - (count - 1) * width;
  const recent = all.filter((series) => series.latest!.start >= first);
  const sized = recent.map((series) => ({ id: series.id, series, size: sizeOf(tile, series, first) }));
  const shown = order.of(sized, Math.min(limit, tile.limit), moment.now);
  const by = telling(tile);
  const filling = { key: tile.key, zeroWhenEmpty: isCounted(tile), completeUpTo: moment.watermark };
  const slots = shown.map(({ series }) => slotsOf(series, last, count, width, filling));
  const drop = unknownAtStart(slots, LEAST_COLUMNS);
  const rows = shown.map(({ id, series }, row): HeatRow => {
    const { closed, open } = slots[row]!;
    const cells = closed.map((value, index): Cell => ({
      value: value ?? open[index] ?? null,
      open: (open[index] ?? null) !== null,
      step: null,
    }));
    return { id, label: labelOf(tile, series, by), other: isOther(series, by), cells: cells.slice(drop) };
  });
  // What is still growing says nothing of the scale yet.
  const closed = rows.flatMap(({ cells }) => cells.flatMap((cell) => (cell.value === null || cell.open ? [] : [cell.value])));
  const steps = stepsOf(closed, isCounted(tile));
  for (const { cells } of rows) for (const cell of cells) if (cell.value !== null) cell.step = stepOf(steps, cell.value);
  return {
    starts: Array.from({ length: count - drop }, (_, index) => first + (drop + index) * width),
    width,
    rows,
    hidden: recent.length - shown.length,
    steps,
  };
}

/** The sum of the hour; of what does not add up, the mean of its windows. */
function sizeOf(tile: Tile, series: Series, first: number): number {
  let sum = 0;
  let known = 0;
  for (const point of series.points) {
    if (point.start < first) continue;
    const value = numberIn(point.value, tile.key);
    if (value === null) continue;
    sum += Math.abs(value);
    known += 1;
  }
  return isCounted(tile) || known === 0 ? sum : sum / known;
}

/** One row in words, for who cannot see it. */
export function rowText({ cells }: HeatRow): { latest: string; least: string; most: string } {
  const values = cells.flatMap(({ value, open }) => (value === null || open ? [] : [value]));
  const text = (value: number | undefined): string => (value === undefined ? "unknown" : exactNumber(value));
  return values.length === 0
    ? { latest: text(undefined), least: text(undefined), most: text(undefined) }
    : { latest: text(values.at(-1)), least: text(Math.min(...values)), most: text(Math.max(...values)) };
}

/** One cell in words: "Riverside, 14:03: 42 so far". */
export function cellText(heat: Heat, row: number, column: number, unit: string | null, zone: Zone): string {
  const cell = heat.rows[row]?.cells[column];
  const start = heat.starts[column];
  if (cell === undefined || start === undefined) return "";
  const value = cell.value === null ? "unknown" : `${exactNumber(cell.value)}${unit ? ` ${unit}` : ""}${cell.open ? " so far" : ""}`;
  return `${heat.rows[row]!.label}, ${timeText(start, heat.width, zone)}: ${value}`;
}

/** Where the quarters of an hour lie along the columns, from 0 to 1; for other widths, about every fifteenth column. */
export function ticksOf({ starts, width }: Heat, zone: Zone): { at: number; text: string }[] {
  const every = width > 0 && (15 * MINUTE_MS) % width === 0 ? 15 * MINUTE_MS : 15 * width;
  return starts.flatMap((start, column) => {
    const isTick = start % every === 0;
    // A label needs some columns to stand over.
    return isTick && column <= starts.length * 0.88 ? [{ at: column / starts.length, text: timeText(start, width, zone) }] : [];
  });
}

/** The name in the style sheet of each step's colour: `heat` from zero up, `cold` from zero down, each the stronger the further. */
export function shadesOf({ edges, zeroAt }: Steps): string[] {
  const above = edges.length - 1 - zeroAt;
  return Array.from({ length: edges.length - 1 }, (_, step) => {
    if (step < zeroAt) return `--cold-${zeroAt - 1 - step}`;
    const far = step - zeroAt;
    return `--heat-${above > SHADES / 2 ? far : 2 * far + 1}`;
  });
}
