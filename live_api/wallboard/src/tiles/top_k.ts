/** What a tile of the most frequent values draws: one point, whose value is texts and how often each came. */

import type { Tile } from "../board";
import { exactNumber, shortNumber } from "../format";
import type { Moment } from "../moment";
import { seriesOf } from "../panels";
import type { Point } from "../protocol";
import type { Series, SeriesStore } from "../store";
import type { Bars } from "./bar";
import { labelOf, periodOf } from "./rows";
import type { Order } from "./order";

export interface Top extends Bars {
  /** Which of several series this is; null where there is but one. */
  of: string | null;
  /** By how much a count may be too small, in words; null where all are exact. */
  approximate: string | null;
}

const NOTHING: Top = { bars: [], hidden: 0, zeroAt: 0, marks: [], period: "", of: null, approximate: null };

export function topOf(tile: Tile, store: SeriesStore, order: Order, moment: Moment, limit = tile.limit): Top {
  const { metric, window } = tile;
  if (metric === null || window === null) return NOTHING;
  const all = seriesOf(tile, store, window);
  const series = mostEvents(all);
  if (series === undefined) return NOTHING;
  const point = series.latest!;
  const items = Object.entries(typeof point.value === "number" ? {} : point.value);
  // A text may look like a number, and JSON objects put those first: their order says nothing.
  const shown = order.of(items.map(([id, size]) => ({ id, size })), Math.min(limit, tile.limit), moment.now);
  const most = Math.max(0, ...shown.map(({ size }) => size));
  return {
    bars: shown.map(({ id, size }) => ({
      id,
      label: id === "" ? "(empty)" : id,
      value: shortNumber(size),
      exact: exactNumber(size),
      from: 0,
      to: most > 0 ? Math.max(0, size / most) : 0,
      level: "none",
      former: false,
      other: false,
    })),
    hidden: items.length - shown.length,
    zeroAt: 0,
    marks: [],
    period: periodOf(point.start, window, point.state === "open", moment),
    of: all.length > 1 ? `${labelOf(tile, series)}, 1 of ${all.length}` : null,
    approximate: approximately(point),
  };
}

/** Lists of several series cannot be added up, as what is on none may be frequent in all: the one of most events is shown. */
function mostEvents(all: readonly Series[]): Series | undefined {
  const start = Math.max(...all.map((series) => series.latest!.start));
  const present = all.filter((series) => series.latest!.start === start);
  return present.toSorted((one, other) => other.latest!.count - one.latest!.count || (one.id < other.id ? -1 : 1))[0];
}

/** The error is a share of all events of the window: so many may be missing from each count. */
function approximately({ error, count }: Point): string | null {
  if (!error || error < 0) return null;
  const missing = Math.ceil(error * count);
  return missing > 0 ? `each up to ${shortNumber(missing)} too low` : null;
}
