/** A number set against what it was at the same time yesterday, or against its target. */

import type { Tile } from "./board";
import { windowStart } from "./durations";
import { shortNumber } from "./format";
import type { Panel } from "./panels";

/** Both of the same moment, as the numbers of a growing window cannot be compared otherwise. */
export interface Compared {
  now: number;
  yesterday: number;
  /** When that was, server time. */
  at: number;
}

export interface Delta {
  /** Which way it went: up and down are neither good nor bad in themselves. */
  direction: "up" | "down" | "same";
  /** "+12%", "−340", "as many" */
  amount: string;
  /** "than yesterday at this time", "of the target 500" */
  against: string;
}

/** Older than this, a comparison is not shown any more. */
export const COMPARED_FOR_MS = 180_000;
/** Past this, a percentage says less than how many times as much it is. */
const MOST_PERCENT = 1_000;
const MINUS = "\u2212";

export function wantsYesterday(tile: Tile): boolean {
  return tile.compare === "yesterday";
}

export function compareQuery(tile: Tile, panel: Panel): URLSearchParams {
  return new URLSearchParams({
    ...tile.dimensions,
    metric: panel.metric.name,
    window: panel.main,
    ...(panel.key === null ? {} : { key: panel.key }),
  });
}

export function deltaOf(tile: Tile, panel: Panel, value: number, compared: Compared | undefined, now: number): Delta | null {
  if (tile.compare === "target") {
    const target = tile.target ?? panel.metric.target;
    return target === null ? null : difference(value, target, `target ${shortNumber(target)}`);
  }
  if (tile.compare !== "yesterday" || compared === undefined || now - compared.at > COMPARED_FOR_MS) return null;
  // At midnight a day's count starts again; what was compared before belongs to the day that has ended.
  if (panel.accumulates && windowStart(compared.at, panel.mainMs) !== windowStart(now, panel.mainMs)) return null;
  return difference(compared.now, compared.yesterday, "yesterday by now");
}

function difference(value: number, base: number, against: string): Delta {
  const change = value - base;
  const direction = change > 0 ? "up" : change < 0 ? "down" : "same";
  if (direction === "same") return { direction, amount: "same", against };
  const sign = change > 0 ? "+" : MINUS;
  if (base <= 0) return { direction, amount: sign + shortNumber(Math.abs(change)), against };
  const percent = (Math.abs(change) / base) * 100;
  if (percent > MOST_PERCENT) return { direction, amount: `${shortNumber(value / base)}×`, against };
  const amount = percent < 0.95 ? percent.toFixed(1) : percent.toFixed(0);
  return amount === "0.0" ? { direction: "same", amount: "same", against } : { direction, amount: `${sign}${amount}%`, against };
}
