/** Tiles, series and moments for tests. */

import type { MetricInfo, Tile } from "../src/board";
import { Zone } from "../src/format";
import type { Moment } from "../src/moment";
import type { SentPoint, SentSeries } from "../src/protocol";

export const DAY = Date.UTC(2024, 3, 2);
export const NOON = DAY + 12 * 3_600_000;
export const S = 10_000;

export function metric(over: Partial<MetricInfo> = {}): MetricInfo {
  return {
    name: "edits",
    title: "Edits",
    measure: "count",
    by: [],
    windows: ["10s", "1m", "1h", "1d"],
    unit: null,
    description: null,
    target: null,
    ...over,
  };
}

/** Shows the day, and draws windows of ten seconds. */
export function tile(over: Partial<Tile> = {}, ofMetric: Partial<MetricInfo> = {}): Tile {
  return {
    id: "t0",
    type: "number",
    title: "Edits",
    unit: null,
    metric: metric(ofMetric),
    window: "1d",
    fine: "10s",
    dimensions: {},
    width: 3,
    height: 2,
    compare: "none",
    target: null,
    warning: null,
    critical: null,
    limit: 10,
    min: null,
    max: null,
    key: null,
    analysis: null,
    period: null,
    forecast: null,
    ...over,
  };
}

export function moment(over: Partial<Moment> = {}): Moment {
  return {
    now: NOON + 4_000,
    watermark: null,
    lastEvent: null,
    line: "live",
    source: "live",
    lostForMs: null,
    behindMs: null,
    zone: new Zone("UTC"),
    ...over,
  };
}

export function sent(
  window: string,
  points: [start: number, value: SentPoint["value"], state: SentPoint["state"]][],
  dimensions: Record<string, string> = {},
  name = "edits",
): [string, SentSeries] {
  return [
    `${name}@${window}${JSON.stringify(dimensions)}`,
    {
      metric: name,
      window,
      dimensions,
      points: points.map(([start, value, state]) => ({ start, value, count: 1, state, revision: 1 })),
    },
  ];
}
