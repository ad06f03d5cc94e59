/** Windows in words: which one a number is of, so that no past passes for now. */

import { DAY_MS, MINUTE_MS, windowText } from "./durations";
import type { Moment } from "./moment";
import type { Panel } from "./panels";

/** Windows that are called by their unit. */
const ONE: Record<string, string> = { "1s": "second", "1m": "minute", "1h": "hour", "1d": "day" };
const LEAST_RECENT_MS = 5_000;

/** "today so far" while the window is the present one; its date or time where it is not. */
export function periodText(start: number, width: number, window: string, open: boolean, moment: Moment): string {
  const { now, zone } = moment;
  const soFar = open ? " so far" : "";
  if (start <= now && now < start + width) {
    if (width === DAY_MS) return (zone.isUtc ? "today" : "UTC day") + soFar;
    return `${ONE[window] ? `this ${ONE[window]}` : `these ${windowText(window)}`}${soFar}`;
  }
  return `${windowName(start, width, window, moment)}${open ? "," : ""}${soFar}`;
}

export function windowName(start: number, width: number, window: string, { now, zone }: Moment): string {
  if (width === DAY_MS) return zone.isUtc ? zone.dateAndYear(start) : `${zone.dateAndYear(start)} (UTC day)`;
  const time = width >= MINUTE_MS ? zone.minute(start) : zone.time(start);
  const date = zone.dateAndYear(start);
  return `${windowText(window)} from ${date === zone.dateAndYear(now) ? "" : `${date}, `}${time}`;
}

/** "last full 10 s" where it is; the window's time where later ones have passed since. */
export function closedText(panel: Panel, start: number, moment: Moment): string {
  return isRecent(panel, start, moment)
    ? `last full ${ONE[panel.fine] ?? windowText(panel.fine)}`
    : windowName(start, panel.fineMs, panel.fine, moment);
}

/** "per minute" */
export function perText(window: string): string {
  return `per ${ONE[window] ?? windowText(window)}`;
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
  return now - (start + panel.fineMs) < 2 * panel.fineMs + LEAST_RECENT_MS;
}
