/** Tiles of many series, and a store with what a test needs in it. */

import type { MetricInfo, Tile } from "../src/board";
import type { SentPoint, SentSeries } from "../src/protocol";
import { SeriesStore } from "../src/store";
import * as sample from "./sample";

export { DAY, moment, NOON } from "./sample";
export const MINUTE = 60_000;

const CLAIMS = { name: "claims", title: "Claims", by: ["community"], windows: ["1m", "1h", "1d"] };

/** Shows the day by community, and draws windows of a minute. */
export function tile(over: Partial<Tile> = {}, about: Partial<MetricInfo> = {}): Tile {
  return sample.tile({ type: "bar", title: "Claims", fine: "1m", ...over }, { ...CLAIMS, ...about });
}

export type Told = [start: number, value: SentPoint["value"], state?: SentPoint["state"]];

/** Points of one window, by the name of a community or by dimensions as JSON. */
export function put(store: SeriesStore, window: string, told: Record<string, Told[]>, name = "claims", t = sample.NOON): void {
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
