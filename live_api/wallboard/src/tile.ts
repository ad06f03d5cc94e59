/** What a number tile says, worked out from the store: plain data, so that every sentence on the wall can be tested. */

import { DAY_MS, MINUTE_MS, windowStart, windowText } from "./durations";
import { ageText, bigNumber, exactNumber, shortNumber, type Zone } from "./format";
import { SPARK_WINDOWS, type Panel } from "./panels";
import { lastStart, slotsOf, type Slots } from "./slots";
import type { Point } from "./protocol";
import type { Series, SeriesStore } from "./store";

/** What stands between a number and the world: how the line and the server's sources are. */
export type LineState = "connecting" | "live" | "lost" | "source_down";
export type TileState = "live" | "stale" | "lost" | "waiting" | "source_down";

export interface Side {
  label: string;
  value: string;
}

export interface Tile {
  state: TileState;
  /** null: nothing was measured yet. */
  value: string | null;
  exact: string;
  /** What the big number is: "today so far". */
  period: string;
  closed: Side | null;
  running: Side | null;
  spark: Slots | null;
  ageMs: number | null;
  /** In words, where the state needs some. */
  note: string | null;
  /** From 0 to 1, where the target can be set against the big number. */
  towardsTarget: number | null;
}

export interface Moment {
  now: number;
  watermark: number | null;
  /** The time of the latest event of any kind, so far as it is known. */
  lastEvent?: number | null;
  line: LineState;
  zone: Zone;
}

const LEAST_STALE_MS = 5_000;

const MEASURE_WORDS: Record<string, string> = {
  mean: "average",
  min: "lowest",
  max: "highest",
  distinct: "distinct",
  rate: "rate",
  first: "first",
  last: "latest",
};

/** Windows that are called by their unit. */
const ONE: Record<string, string> = { "1s": "second", "1m": "minute", "1h": "hour", "1d": "day" };

/** A number older than three of its smallest windows is not current any more. */
export function staleAfterMs(panel: Panel): number {
  return Math.max(3 * panel.fineMs, LEAST_STALE_MS);
}

export function stateOf(panel: Panel, ageMs: number | null, { line, lastEvent, now }: Moment): TileState {
  if (line === "lost") return "lost";
  if (line === "source_down") return "source_down";
  if (ageMs === null || line === "connecting") return "waiting";
  // Where other events come in, a count that stands still is a count of nothing, and true: errors may be rare.
  const counted = panel.zeroWhenEmpty && typeof lastEvent === "number" ? Math.min(ageMs, now - lastEvent) : ageMs;
  return counted > staleAfterMs(panel) ? "stale" : "live";
}

export function tileOf(panel: Panel, store: SeriesStore, moment: Moment): Tile {
  const { metric } = panel;
  const main = only(store, metric.name, panel.main);
  const fine = only(store, metric.name, panel.fine);
  const shown = main && presentOf(panel, main, moment);
  const ageMs = main === undefined ? null : ageOf(main, fine, moment.now);
  const state = stateOf(panel, ageMs, moment);
  const word = MEASURE_WORDS[metric.measure];
  const period = shown ? periodText(shown.start, panel.mainMs, panel.main, shown.state === "open", moment) : "";
  const { closed, running } = sidesOf(panel, fine, main, moment);
  return {
    state,
    value: shown ? bigNumber(shown.value) : null,
    exact: shown ? exactNumber(shown.value) : "",
    period: word && period ? `${word}, ${period}` : period,
    closed,
    running,
    spark: fine ? sparkOf(panel, fine, moment) : null,
    ageMs,
    note: noteOf(state, ageMs),
    towardsTarget: shown ? towardsTarget(panel, shown.value) : null,
  };
}

/**
 * The latest point; or, once the processor is past the end of its window, the zero of the window after which it has found
 * nothing. At midnight a rare event's count does start again, and yesterday's must not stand there all day.
 */
function presentOf(panel: Panel, main: Series, { watermark }: Moment): Pick<Point, "start" | "value" | "state"> | undefined {
  const { latest } = main;
  if (latest === undefined || watermark === null || !panel.zeroWhenEmpty) return latest;
  const start = windowStart(watermark, panel.mainMs);
  return start > latest.start ? { start, value: 0, state: "open" } : latest;
}

/** "today so far" while the window is the present one; its date or time where it is not, so no past passes for now. */
export function periodText(start: number, width: number, window: string, open: boolean, moment: Moment): string {
  const { now, zone } = moment;
  const soFar = open ? " so far" : "";
  if (start <= now && now < start + width) {
    if (width === DAY_MS) return (zone.isUtc ? "today" : "UTC day") + soFar;
    return `${ONE[window] ? `this ${ONE[window]}` : `these ${windowText(window)}`}${soFar}`;
  }
  return `${windowName(start, width, window, moment)}${open ? "," : ""}${soFar}`;
}

function windowName(start: number, width: number, window: string, { now, zone }: Moment): string {
  if (width === DAY_MS) return zone.isUtc ? zone.dateAndYear(start) : `${zone.dateAndYear(start)} (UTC day)`;
  const time = width >= MINUTE_MS ? zone.minute(start) : zone.time(start);
  const date = zone.dateAndYear(start);
  return `${windowText(window)} from ${date === zone.dateAndYear(now) ? "" : `${date}, `}${time}`;
}

/**
 * Since when the big number stands. A change that was seen happen tells. A number that was there before this page looked
 * is as old as the latest small window with a point, as a day's number changes no later than its last ten seconds do;
 * without such a window all that is certain is when the number's own window began.
 */
function ageOf(main: Series, fine: Series | undefined, now: number): number | null {
  if (main.latest === undefined) return null;
  const vouched = fine?.latest === undefined ? main.latest.start : Math.min(main.vouchedAt, fine.vouchedAt);
  return Math.max(0, now - Math.max(main.changedAt, vouched));
}

function sidesOf(panel: Panel, fine: Series | undefined, main: Series | undefined, moment: Moment) {
  const none = { closed: null, running: null };
  if (fine === undefined) return none;
  const last = lastStart([fine], panel.fineMs, moment.watermark);
  if (last === null) return none;
  const { closed, open } = slotsOf(fine, last, 12, panel.fineMs, fillingOf(panel, moment));
  const startAt = (index: number): number => last - (closed.length - 1 - index) * panel.fineMs;
  const tells = (start: number): boolean => fine.at(start) !== undefined || isTellingZero(panel, start, moment);
  const closedAt = closed.findLastIndex((value, index) => value !== null && tells(startAt(index)));
  const openAt = open.findLastIndex((value) => value !== null);
  return {
    closed: closedAt < 0 ? null : closedSide(panel, startAt(closedAt), closed[closedAt]!, moment),
    running:
      openAt < 0 || fine === main
        ? null
        : {
            label: runningText(startAt(openAt), panel, moment),
            value: shortNumber(open[openAt]!),
          },
  };
}

/** Its colour says that it is still open; the words only where there is room. */
function runningText(start: number, panel: Panel, moment: Moment): string {
  const current = start <= moment.now && moment.now < start + panel.fineMs;
  return current
    ? periodText(start, panel.fineMs, panel.fine, true, moment)
    : windowName(start, panel.fineMs, panel.fine, moment);
}

function closedSide(panel: Panel, start: number, value: number, moment: Moment): Side {
  return { label: closedText(panel, start, moment), value: shortNumber(value) };
}

/** "last full 10 s" where it is; the window's time where later ones have passed since. */
export function closedText(panel: Panel, start: number, moment: Moment): string {
  return isRecent(panel, start, moment) ? lastFull(panel.fine) : windowName(start, panel.fineMs, panel.fine, moment);
}

/**
 * A window without a point is news, as "nothing just now", while it is recent and the processor is past its end. In a
 * replay of old events time runs in leaps: there it says nothing, and the latest window that has a value does.
 */
export function isTellingZero(panel: Panel, start: number, moment: Moment): boolean {
  const { watermark } = moment;
  return watermark !== null && start + panel.fineMs <= watermark && isRecent(panel, start, moment);
}

function isRecent(panel: Panel, start: number, { now }: Moment): boolean {
  return now - (start + panel.fineMs) < 2 * panel.fineMs + LEAST_STALE_MS;
}

function lastFull(window: string): string {
  return `last full ${ONE[window] ?? windowText(window)}`;
}

function sparkOf(panel: Panel, fine: Series, moment: Moment): Slots | null {
  const last = lastStart([fine], panel.fineMs, moment.watermark);
  return last === null ? null : slotsOf(fine, last, SPARK_WINDOWS, panel.fineMs, fillingOf(panel, moment));
}

function fillingOf(panel: Panel, moment: Moment) {
  return { zeroWhenEmpty: panel.zeroWhenEmpty, completeUpTo: moment.watermark };
}

function noteOf(state: TileState, ageMs: number | null): string | null {
  if (ageMs === null) return state === "waiting" ? "waiting for the first event" : "nothing measured yet";
  if (state === "waiting") return "connecting";
  return state === "stale" ? `no data for ${ageText(ageMs)}` : null;
}

/** A catalog gives one target for all windows of a metric; only where there is one window is it clear what it is for. */
function towardsTarget(panel: Panel, value: number): number | null {
  const { target, windows } = panel.metric;
  if (target === null || target <= 0 || (panel.accumulates && windows.length > 1)) return null;
  return Math.min(1, Math.max(0, value / target));
}

function only(store: SeriesStore, metric: string, window: string): Series | undefined {
  return store.group(metric, window)?.series.values().next().value;
}
