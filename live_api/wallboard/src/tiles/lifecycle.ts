/** What a lifecycle tile draws: for each period who was there above a line, in a stack, and who was not any more below it. */

import { exactNumber, shareText, shortNumber, type Zone } from "../format";
import type { Lifecycle, LifecycleBar } from "../people";
import { roundUp } from "./steps";

/** From the line upwards; dormant goes down. */
export const ABOVE = ["returning", "resurrecting", "new"] as const;
export const KINDS = ["new", "returning", "resurrecting", "dormant"] as const;
export type Kind = (typeof KINDS)[number];

export interface Part {
  kind: Kind;
  /** In people from the line, upwards; below it both are negative. */
  from: number;
  to: number;
}

export interface StackedBar {
  start: number;
  label: string;
  parts: Part[];
  open: boolean;
  /** "so far", "corrected" or "" */
  mark: string;
  values: Record<Kind, string>;
  active: string;
  churn: string;
  growth: string;
}

export interface Stacks {
  bars: StackedBar[];
  /** Round ends of the scale; `bottom` is 0 or negative. */
  top: number;
  bottom: number;
  /** The latest period, the words of the legend: "today so far". */
  latest: StackedBar | null;
  /** Of the last period that is over: "churn 12%, growth +3.0%". */
  rates: string;
}

/** The latest periods, oldest first. */
export function stacksOf(lifecycle: Lifecycle, zone: Zone, most: number): Stacks {
  const shown = lifecycle.bars.slice(-Math.max(1, most));
  const bars = shown.map((bar) => stackOf(bar, lifecycle.period, zone));
  const tops = bars.map(({ parts }) => Math.max(0, ...parts.map(({ to }) => to)));
  const deepest = Math.max(0, ...shown.map(({ dormant }) => dormant));
  const last = shown.findLast((bar) => bar.state !== "open");
  return {
    bars,
    top: roundUp(Math.max(0, ...tops)),
    bottom: deepest > 0 ? -roundUp(deepest) : 0,
    latest: bars.at(-1) ?? null,
    rates: last === undefined ? "" : ratesText(last, labelOf(last.start, lifecycle.period, zone)),
  };
}

function stackOf(bar: LifecycleBar, period: string, zone: Zone): StackedBar {
  const parts: Part[] = [];
  let at = 0;
  for (const kind of ABOVE) {
    if (bar[kind] <= 0) continue;
    parts.push({ kind, from: at, to: at + bar[kind] });
    at += bar[kind];
  }
  if (bar.dormant > 0) parts.push({ kind: "dormant", from: -bar.dormant, to: 0 });
  return {
    start: bar.start,
    label: labelOf(bar.start, period, zone),
    parts,
    open: bar.state === "open",
    mark: bar.state === "open" ? "so far" : bar.state === "corrected" ? "corrected" : "",
    values: {
      new: exactNumber(bar.new),
      returning: exactNumber(bar.returning),
      resurrecting: exactNumber(bar.resurrecting),
      dormant: exactNumber(bar.dormant),
    },
    active: exactNumber(bar.active),
    churn: bar.churnRate === null ? "–" : shareText(bar.churnRate),
    growth: bar.growth === null ? "–" : signed(bar.growth),
  };
}

function labelOf(start: number, period: string, zone: Zone): string {
  const text = zone.dateAndYear(start);
  return period === "month" ? text.replace(/^\d+ /, "") : text.replace(/ \d{4}$/, "");
}

function ratesText({ churnRate, growth }: LifecycleBar, label: string): string {
  const churn = churnRate === null ? [] : [`churn ${shareText(churnRate)}`];
  const grown = growth === null ? [] : [`growth ${signed(growth)}`];
  return churn.length + grown.length === 0 ? "" : `${label}: ${[...churn, ...grown].join(", ")}`;
}

function signed(share: number): string {
  const text = shareText(Math.abs(share));
  return share > 0 ? `+${text}` : share < 0 ? `\u2212${text}` : `±${text}`;
}

/** Where the scale is labelled, from its top (0) to its bottom (1). */
export function scaleOf({ top, bottom }: Stacks): { at: number; text: string }[] {
  const span = top - bottom;
  const marks = bottom < 0 ? [top, 0, bottom] : [top, 0];
  return marks.map((value) => ({ at: (top - value) / span, text: shortNumber(Math.abs(value)) }));
}

/** Which bars have their date below them, so that there are `most` of them: the last one always. */
export function labelled(count: number, most: number): ReadonlySet<number> {
  const every = Math.max(1, Math.ceil(count / Math.max(1, most)));
  const found = new Set<number>();
  for (let at = count - 1; at >= 0; at -= every) found.add(at);
  return found;
}
