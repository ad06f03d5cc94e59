/** What the header says, as plain data. */

import { ageText, delayText, exactNumber, type Zone } from "./format";

export interface Fact {
  name: string;
  value: string;
}

/** Below this, an event's age is told in tenths of a second. */
const CLOSE_MS = 60_000;
const REASONS_SHOWN = 2;

/**
 * A processor that began again has not read an event yet, and says so; the latest window with a number still tells how
 * far things had come. Without one either, nothing is said.
 */
export function lastEventFact(lastEvent: number | null, latestWindow: number | null, now: number, zone: Zone): Fact | null {
  if (lastEvent !== null) {
    const age = Math.max(0, now - lastEvent);
    return { name: "last event", value: age < CLOSE_MS ? delayText(age) : ageText(age) };
  }
  if (latestWindow === null) return null;
  const date = zone.dateAndYear(latestWindow);
  const time = zone.time(latestWindow);
  return { name: "latest window from", value: date === zone.dateAndYear(now) ? time : `${date}, ${time}` };
}

export type Reason = [name: string, count: number];

/** Those with a count, largest first. */
export function reasonsOf(rejects: Readonly<Record<string, number>> | null): Reason[] {
  return Object.entries(rejects ?? {})
    .filter(([, count]) => count > 0)
    .sort((one, other) => other[1] - one[1]);
}

export function reasonText([name, count]: Reason): string {
  return `${name.replaceAll("_", " ")} ${exactNumber(count)}`;
}

/** The numbers in it add up to the total: "malformed 3 · bad type 2 + 1 more". */
export function reasonsText(reasons: readonly Reason[], total: number): string {
  const shown = reasons.slice(0, reasons.length === REASONS_SHOWN + 1 ? REASONS_SHOWN + 1 : REASONS_SHOWN);
  const more = total - shown.reduce((sum, [, count]) => sum + count, 0);
  return shown.map(reasonText).join(" · ") + (more > 0 ? ` + ${exactNumber(more)} more` : "");
}
