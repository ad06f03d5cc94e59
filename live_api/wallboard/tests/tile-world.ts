/** A tile, a moment and a store with what a test needs in them. */

import type { MetricInfo, Tile } from "../src/board";
import { Zone } from "../src/format";
import type { Moment } from "../src/moment";
import type { SentPoint, SentSeries } from "../src/protocol";
import { SeriesStore } from "../src/store";

export const DAY = Date.UTC(2024, 3, 2);
export const NOON = DAY + 12 * 3_600_000;
export const MINUTE = 60_000;

export function metric(over: Partial<MetricInfo> = {}): MetricInfo {
  return {
    name: "claims",
    title: "Claims",
    measure: "count",
    by: ["community"],
    windows: ["1m", "1h", "1d"],
    unit: null,
    description: null,
    target: null,
    ...over,
  };
}

export function tile(over: Partial<Tile> = {}, about: Partial<MetricInfo> = {}): Tile {
  return {
    id: "t0",
    type: "bar",
    title: "Claims",
    unit: null,
    metric: metric(about),
    window: "1d",
    fine: "1m",
    dimensions: {},
    width: 4,
    height: 3,
    compare: "none",
    target: null,
    warning: null,
    critical: null,
    limit: 10,
    min: null,
    max: null,
    key: null,
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

export type Told = [start: number, value: SentPoint["value"], state?: SentPoint["state"]];

/** Points of one window, by the name of a community or by dimensions as JSON. */
export function put(store: SeriesStore, window: string, told: Record<string, Told[]>, name = "claims", t = NOON): void {
  const sent = Object.entries(told).map(([who, points]): [string, SentSeries] => [
    `${name}@${window}${who}`,
    {
      metric: name,
      window,
      dimensions: who.startsWith("{") ? (JSON.parse(who) as Record<string, string>) : { community: who },
      points: points.map(([start, value, state = "final"]) => ({
        start,
        value,
        count: typeof value === "number" ? value : 100,
        state,
        revision: 1,
        error: null,
      })),
    },
  ]);
  store.update(new Map(sent), t);
}

export function storeOf(window: string, told: Record<string, Told[]>, name = "claims"): SeriesStore {
  const store = new SeriesStore();
  put(store, window, told, name);
  return store;
}
