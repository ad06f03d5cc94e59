/** How current a tile is. Each state is a look of its own (pattern, mark and words): what is grey is never simply fine. */

import { ageText } from "./format";
import type { Moment } from "./moment";

export type Freshness = "live" | "waiting" | "stale" | "late" | "source_down" | "lost";

export interface Currency {
  /** Since when the value stands, ms; null before there is one. */
  ageMs: number | null;
  /** How often a new value is to be expected. */
  expectedMs: number;
  /** Counts events: where others come in, one that stands still is a count of nothing, and true. */
  countsEvents: boolean;
}

/** Nothing is stale sooner: three times a window of a second would flicker. */
const LEAST_STALE_MS = 5_000;
/** A backlog so old is told; what is read within seconds is not late. */
export const LATE_MS = 5_000;

/** A value older than three of the intervals it is expected in is not current any more. */
export function staleAfterMs(expectedMs: number): number {
  return Math.max(3 * expectedMs, LEAST_STALE_MS);
}

export function freshnessOf({ ageMs, expectedMs, countsEvents }: Currency, moment: Moment): Freshness {
  const { line, lastEvent, behindMs, now } = moment;
  if (line === "lost") return "lost";
  if (line === "source_down") return "source_down";
  if (ageMs === null || line === "connecting") return "waiting";
  // What waits to be read explains why a number stands still, so it is said first.
  if (behindMs !== null && behindMs >= LATE_MS) return "late";
  const quietMs = countsEvents && lastEvent !== null ? Math.min(ageMs, now - lastEvent) : ageMs;
  return quietMs > staleAfterMs(expectedMs) ? "stale" : "live";
}

/** In a few words, or null where there is nothing to say. */
export function freshnessText(freshness: Freshness, ageMs: number | null, moment: Moment): string | null {
  switch (freshness) {
    case "live":
      return null;
    case "waiting":
      return moment.line === "connecting" ? "connecting" : "no data yet";
    case "stale":
      return `no data for ${ageText(ageMs ?? 0)}`;
    case "late":
      return `late, ${ageText(moment.behindMs ?? 0)} behind`;
    case "source_down":
      return moment.source === "valkey_down" ? "Valkey away" : "processor silent";
    case "lost":
      return moment.lostForMs === null ? "line lost" : `line lost for ${ageText(moment.lostForMs)}`;
  }
}
