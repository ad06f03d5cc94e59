/** A series laid out on a row of consecutive windows, with each window closed, open or unknown. */

import { windowStart } from "./durations";
import { numberIn } from "./protocol";
import type { Series } from "./store";

export interface Slots {
  /** Values of closed windows; null where the window is open or nothing is known. */
  closed: (number | null)[];
  /** Values so far of open windows; null elsewhere. */
  open: (number | null)[];
}

export interface Filling {
  /** Which of several values a point has. */
  key?: string | null;
  zeroWhenEmpty: boolean;
  /** Windows that end by then are complete: one that has no point by now will not get one, short of a correction. */
  completeUpTo: number | null;
}

/** Start of the last window worth showing: the latest with a point, or the latest complete one if that is later. */
export function lastStart(series: Iterable<Series>, width: number, completeUpTo: number | null): number | null {
  let last = -Infinity;
  for (const one of series) last = Math.max(last, one.latest?.start ?? -Infinity);
  if (last === -Infinity) return null;
  if (completeUpTo !== null) last = Math.max(last, windowStart(completeUpTo, width) - width);
  return windowStart(last, width);
}

/** The `count` windows up to and including the one that starts at `last`. Points off the grid are left out. */
export function slotsOf(series: Series, last: number, count: number, width: number, filling: Filling): Slots {
  const closed = new Array<number | null>(count).fill(null);
  const open = new Array<number | null>(count).fill(null);
  const first = last - (count - 1) * width;
  const { points } = series;
  const latest = points.at(-1);
  const earliest = points[0];
  if (filling.zeroWhenEmpty && latest !== undefined && earliest !== undefined) {
    const fillTo = Math.max(latest.start, (filling.completeUpTo ?? -Infinity) - width);
    for (let index = 0, start = first; index < count; index += 1, start += width) {
      if (start > earliest.start && start <= fillTo) closed[index] = 0;
    }
  }
  for (const point of points) {
    const index = (point.start - first) / width;
    if (index < 0 || index >= count || !Number.isInteger(index)) continue;
    const value = numberIn(point.value, filling.key ?? null);
    closed[index] = point.state === "open" ? null : value;
    open[index] = point.state === "open" ? value : null;
  }
  return { closed, open };
}

/** Rows added up, window by window. What is open in one of them is open in the sum. */
export function sumOf(rows: readonly Slots[]): Slots {
  const count = rows[0]?.closed.length ?? 0;
  const closed = new Array<number | null>(count).fill(null);
  const open = new Array<number | null>(count).fill(null);
  for (let index = 0; index < count; index += 1) {
    let sum: number | null = null;
    let isOpen = false;
    for (const row of rows) {
      const value = row.closed[index] ?? row.open[index] ?? null;
      if (value === null) continue;
      sum = (sum ?? 0) + value;
      isOpen ||= (row.open[index] ?? null) !== null;
    }
    if (isOpen) open[index] = sum;
    else closed[index] = sum;
  }
  return { closed, open };
}

/** Windows at the beginning that none of the rows knows, short of `least` that are kept: what is young starts at the left. */
export function unknownAtStart(rows: readonly Slots[], least: number): number {
  const count = rows[0]?.closed.length ?? 0;
  const isKnown = (index: number): boolean =>
    rows.some(({ closed, open }) => (closed[index] ?? null) !== null || (open[index] ?? null) !== null);
  let index = 0;
  while (index < count - least && !isKnown(index)) index += 1;
  return index;
}
