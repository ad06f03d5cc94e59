/** What a funnel tile draws: a bar a step, what was lost before it, and how long it took. */

import { delayText, exactNumber, shareText, shortNumber } from "../format";
import type { Funnel } from "../people";

export interface FunnelRow {
  id: number;
  name: string;
  people: string;
  exact: string;
  /** Of those that entered, from 0 to 1: how long the bar is. */
  share: number;
  shareText: string;
  /** "−320 (40%)": who was at the step before and did not come here; empty at the first. */
  lost: string;
  /** The median from the step before: "3 min"; empty where it is not known. */
  time: string;
  /** "half within 3 min, nine of ten within 2 h" */
  times: string;
}

export interface FunnelView {
  rows: FunnelRow[];
  /** "12% to the end, half of them within 4 min"; empty while nobody has entered. */
  conversion: string;
  /** To the end by value of the breakdown, the most frequent first: "DE 14%". */
  values: string[];
  hasTimes: boolean;
  /** Steps that there is no room for, all of them before the last. */
  hidden: number;
}

const MOST_VALUES = 6;

export function funnelOf(funnel: Funnel, room: number): FunnelView {
  const entered = funnel.steps[0]?.people ?? 0;
  const all = funnel.steps.map((step, index): FunnelRow => {
    const share = Math.min(1, Math.max(0, step.share ?? (entered > 0 ? step.people / entered : 0)));
    const lostShare = step.fromPrevious === null ? "" : ` (${shareText(1 - step.fromPrevious)})`;
    const { p50 = null, p90 = null } = index === 0 ? {} : (step.seconds ?? {});
    return {
      id: step.step,
      name: step.name,
      people: shortNumber(step.people),
      exact: exactNumber(step.people),
      share,
      shareText: entered > 0 ? shareText(share) : "–",
      lost: index === 0 || step.dropOff <= 0 ? "" : `\u2212${shortNumber(step.dropOff)}${lostShare}`,
      time: p50 === null ? "" : delayText(1000 * p50),
      times: timesText(p50, p90),
    };
  });
  // What is in between is left out rather than the end, which a funnel is about.
  const rows = all.length <= room ? all : [...all.slice(0, Math.max(1, room - 1)), ...all.slice(-1)];
  const half = funnel.overallSeconds?.p50 ?? null;
  const within = half === null ? "" : `, half of them within ${delayText(1000 * half)}`;
  return {
    rows,
    conversion: funnel.conversion === null || entered === 0 ? "" : `${shareText(funnel.conversion)} to the end${within}`,
    values: [...funnel.breakdown]
      .sort((one, other) => other.entered - one.entered)
      .slice(0, MOST_VALUES)
      .flatMap(({ value, share }) => (share === null ? [] : [`${nameOf(value)} ${shareText(share)}`])),
    hasTimes: rows.some(({ time }) => time !== ""),
    hidden: all.length - rows.length,
  };
}

function timesText(p50: number | null, p90: number | null): string {
  const half = p50 === null ? [] : [`half within ${delayText(1000 * p50)}`];
  const most = p90 === null ? [] : [`nine of ten within ${delayText(1000 * p90)}`];
  return [...half, ...most].join(", ");
}

function nameOf(value: string): string {
  return value === "__other__" ? "other" : value === "" || value === "__none__" ? "(none)" : value;
}
