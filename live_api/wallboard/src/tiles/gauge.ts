/** What a gauge draws: one value on a scale with its zones and its target. */

import type { Tile } from "../board";
import { deltaOf, type Compared, type Delta } from "../compare";
import { bigNumber, exactNumber, shortNumber } from "../format";
import type { Moment } from "../moment";
import { panelOf, seriesOf } from "../panels";
import type { SeriesStore } from "../store";
import { levelOf, type Level } from "../threshold";
import { currentOf, type Current } from "./number";
import { periodOf, rowsOf } from "./rows";
import { roundUp } from "./steps";

export interface Gauge {
  /** null: nothing was measured yet. */
  number: number | null;
  value: string | null;
  exact: string;
  level: Level;
  period: string;
  delta: Delta | null;
  /** Along the scale, from 0 to 1. */
  at: number | null;
  /** Zero, or the end of the scale that is nearest to it. */
  zeroAt: number;
  /** The value is off the scale, at this end. */
  beyond: "below" | "above" | null;
  /** Ends of the scale; empty while there is nothing to make one of. */
  least: string;
  most: string;
  /** Of the scale, from its least to its most, without gaps; a single one without a level where there are no thresholds. */
  zones: Zone[];
  target: { at: number; text: string } | null;
  /** In words, where a value cannot be told. */
  problem: string | null;
}

export interface Zone {
  from: number;
  to: number;
  level: Level;
}

export function gaugeOf(tile: Tile, store: SeriesStore, moment: Moment, compared?: Compared): Gauge {
  const panel = panelOf(tile);
  const series = tile.window === null ? 0 : seriesOf(tile, store, tile.window).length;
  const current = panel === null ? ofOne(tile, store, moment) : currentOf(tile, panel, store, moment);
  const value = current?.value ?? null;
  const { least, most } = scaleOf(tile, value);
  const along = (number: number): number => Math.min(1, Math.max(0, (number - least) / (most - least)));
  const isMade = [value, tile.min, tile.max, tile.target, tile.warning, tile.critical].some((mark) => mark !== null);
  const isOn = (number: number): boolean => number >= least && number <= most;
  return {
    number: value,
    value: value === null ? null : bigNumber(value),
    exact: value === null ? "" : exactNumber(value),
    level: levelOf(value, tile),
    period: current === null ? "" : periodOf(current.start, tile.window!, current.open, moment),
    delta: panel === null || value === null ? null : deltaOf(tile, panel, value, compared, moment.now),
    at: value === null ? null : along(value),
    zeroAt: along(0),
    beyond: value === null || isOn(value) ? null : value < least ? "below" : "above",
    least: isMade ? shortNumber(least) : "",
    most: isMade ? shortNumber(most) : "",
    zones: zonesOf(tile, least, most),
    target: tile.target === null || !isOn(tile.target) ? null : { at: along(tile.target), text: shortNumber(tile.target) },
    problem: value === null && series > 1 ? `${series} series, which do not add up: give the tile dimensions that leave one` : null,
  };
}

/** Of a window without a width, where there is but one series. */
function ofOne(tile: Tile, store: SeriesStore, moment: Moment): Current | null {
  const { start, open, rows } = rowsOf(tile, store, moment);
  const value = rows.length === 1 ? rows[0]!.value : null;
  return start === null || value === null ? null : { start, value, open };
}

/** What the tile says; where it does not, from zero to a round number that has room for the value and all its marks. */
function scaleOf(tile: Tile, value: number | null): { least: number; most: number } {
  const marks = [tile.target, tile.warning, tile.critical].filter((mark) => mark !== null);
  const all = value === null ? marks : [...marks, value];
  const highest = Math.max(...all, -Infinity);
  const lowest = Math.min(...all, Infinity);
  const isPercent = tile.unit === "%" && lowest >= 0 && highest <= 100;
  let least = tile.min ?? (lowest < 0 ? -roundUp(-lowest) : 0);
  let most = tile.max ?? (isPercent ? 100 : highest > 0 ? roundUp(highest * 1.1) : lowest < 0 ? 0 : 1);
  // Only where one end is given and everything lies beyond it.
  if (least >= most && tile.max === null) most = least + roundUp(Math.abs(least) || 1);
  if (least >= most) least = most - roundUp(Math.abs(most) || 1);
  return { least, most };
}

/** Cut where levels change, which are the thresholds themselves: the level of a stretch is that of its middle. */
function zonesOf(tile: Tile, least: number, most: number): Zone[] {
  const cuts = [tile.warning, tile.critical].filter((cut) => cut !== null && cut > least && cut < most) as number[];
  const ends = [least, ...cuts.sort((one, other) => one - other), most];
  return ends.slice(1).map((to, index) => ({
    from: (ends[index]! - least) / (most - least),
    to: (to - least) / (most - least),
    level: levelOf((ends[index]! + to) / 2, tile),
  }));
}
