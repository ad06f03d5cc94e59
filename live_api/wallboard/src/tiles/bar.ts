/** What a bar tile draws: the largest series of its window, against one scale and its thresholds. */

import type { Tile } from "../board";
import { exactNumber, shortNumber } from "../format";
import type { Moment } from "../moment";
import type { SeriesStore } from "../store";
import { levelOf, type Level } from "../threshold";
import { rowsOf } from "./rows";
import type { Order } from "./order";

export interface Bar {
  id: string;
  label: string;
  value: string;
  exact: string;
  /** Ends of the bar along the scale, from 0 to 1. */
  from: number;
  to: number;
  level: Level;
  /** Of the window before this one. */
  former: boolean;
  /** Stands for many. */
  other: boolean;
}

export interface Mark {
  kind: "target" | "warning" | "critical";
  /** Along the scale, from 0 to 1; null where it lies so far beyond the bars that they would be stubs. */
  at: number | null;
  text: string;
}

export interface Bars {
  bars: Bar[];
  /** Series that have no bar. */
  hidden: number;
  /** Where the scale has its zero, from 0 to 1. */
  zeroAt: number;
  marks: Mark[];
  period: string;
}

/** A mark further out than so many times the longest bar is not on the scale. */
const MARK_AT_MOST = 2.5;

/** `limit`: how many there is room for, where that is fewer than the tile asks for. */
export function barsOf(tile: Tile, store: SeriesStore, order: Order, moment: Moment, limit = tile.limit): Bars {
  const { rows, period } = rowsOf(tile, store, moment);
  const known = rows.filter((row) => row.value !== null).map((row) => ({ ...row, size: row.value }));
  const shown = order.of(known, Math.min(limit, tile.limit), moment.now);
  const values = shown.map((row) => row.value!);
  const marks = marksOf(tile);
  const scale = scaleOf(values, marks.map((mark) => mark.value));
  const along = (value: number): number => (value - scale.least) / (scale.most - scale.least);
  const zeroAt = along(0);
  return {
    bars: shown.map(({ id, label, value, former, other }) => ({
      id,
      label,
      value: shortNumber(value!),
      exact: exactNumber(value!),
      from: Math.min(zeroAt, along(value!)),
      to: Math.max(zeroAt, along(value!)),
      level: levelOf(value, tile),
      former,
      other,
    })),
    hidden: known.length - shown.length,
    zeroAt,
    marks: marks.map(({ kind, value }) => ({
      kind,
      at: value < scale.least || value > scale.most ? null : along(value),
      text: `${kind} ${shortNumber(value)}`,
    })),
    period,
  };
}

function marksOf(tile: Tile): { kind: Mark["kind"]; value: number }[] {
  return (["target", "warning", "critical"] as const).flatMap((kind) => {
    const value = tile[kind];
    return value === null ? [] : [{ kind, value }];
  });
}

function scaleOf(values: readonly number[], marks: readonly number[]): { least: number; most: number } {
  const least = Math.min(0, ...values);
  const most = Math.max(0, ...values);
  const reach = MARK_AT_MOST * Math.max(most, -least);
  // Without any length of its own, the scale is that of the marks.
  const near = reach > 0 ? marks.filter((mark) => Math.abs(mark) <= reach) : marks;
  const from = Math.min(least, ...near);
  const to = Math.max(most, ...near);
  return { least: from, most: to > from ? to : from + 1 };
}
