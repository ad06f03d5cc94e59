/** What `/v1/people/{analysis}` says of people, read without believing it; `models.ts` has what models say. */

import { isRecord, number, oneOf, string, texts } from "./json";
import type { SourceState } from "./protocol";

const STATES = ["live", "valkey_down", "processor_silent"] as const satisfies readonly SourceState[];
const BAR_STATES = ["open", "final", "corrected"] as const;

/** An answer about any analysis; `body` is what `retentionIn` and its like read. */
export interface Answer {
  /** Up to when events are in it, epoch ms; null: nothing was counted yet. */
  asOf: number | null;
  /** Until when, in the time of events, nothing newer is to be expected; null where something always is. */
  due: number | null;
  state: SourceState;
  body: Readonly<Record<string, unknown>>;
}

export interface RetentionCell {
  offset: string;
  people: number;
  share: number;
  /** Its time goes on: some may still come back. */
  partial: boolean;
}

export interface Cohort {
  /** A date of the platform's zone, "2026-05-04". */
  cohort: string;
  segment: string | null;
  people: number;
  /** By offset; null for a time that has not begun. */
  cells: (RetentionCell | null)[];
  revenue: number | null;
  ltv: number | null;
}

export interface Retention {
  period: string;
  offsets: string[];
  cohorts: Cohort[];
  overall: { offset: string; people: number; of: number; share: number }[];
}

export interface Quantiles {
  p50: number | null;
  p90: number | null;
}

export interface FunnelStep {
  step: number;
  name: string;
  people: number;
  /** Of those that entered; `fromPrevious` of those at the step before. */
  share: number | null;
  fromPrevious: number | null;
  dropOff: number;
  /** From the step before, in seconds. */
  seconds: Quantiles | null;
}

export interface Funnel {
  window: string | null;
  steps: FunnelStep[];
  conversion: number | null;
  overallSeconds: Quantiles | null;
  /** For each value of the breakdown which share came to the last step. */
  breakdown: { value: string; entered: number; share: number | null }[];
}

export interface LifecycleBar {
  start: number;
  new: number;
  returning: number;
  resurrecting: number;
  dormant: number;
  active: number;
  churnRate: number | null;
  growth: number | null;
  state: (typeof BAR_STATES)[number];
}

export interface Lifecycle {
  period: string;
  bars: LifecycleBar[];
}

export interface Transition {
  from: string;
  to: string;
  count: number;
}

export interface Paths {
  transitions: Transition[];
}

/** Ends of a path, where the analysis has them among its pages. */
export const START = "__start__";
export const END = "__end__";

export function answerIn(sent: unknown): Answer {
  if (!isRecord(sent)) throw new TypeError("/v1/people, /v1/churn and /v1/models: expected an object");
  return {
    asOf: timeIn(sent.as_of ?? sent.at),
    due: timeIn(sent.due),
    // A state that is not known is no promise that all is well.
    state: oneOf(STATES, sent.state) ?? "processor_silent",
    body: sent,
  };
}

export function retentionIn({ body }: Answer): Retention {
  return {
    period: string(body.period) ?? "",
    offsets: texts(body.offsets),
    cohorts: records(body.cohorts).flatMap((one) => {
      const cohort = string(one.cohort);
      if (cohort === null) return [];
      const cells = Array.isArray(one.cells) ? (one.cells as unknown[]).map(cellIn) : [];
      const [people, revenue, ltv] = [number(one.people) ?? 0, number(one.revenue), number(one.ltv)];
      return [{ cohort, segment: string(one.segment), people, cells, revenue, ltv }];
    }),
    overall: records(body.overall).flatMap((one) => {
      const [offset, share] = [string(one.offset), number(one.share)];
      return offset === null || share === null ? [] : [{ offset, share, people: number(one.people) ?? 0, of: number(one.of) ?? 0 }];
    }),
  };
}

export function funnelIn({ body }: Answer): Funnel {
  return {
    window: string(body.window),
    steps: records(body.steps).map((one, index) => ({
      step: number(one.step) ?? index + 1,
      name: string(one.name) ?? `Step ${index + 1}`,
      people: number(one.people) ?? 0,
      share: number(one.share),
      fromPrevious: number(one.from_previous),
      dropOff: number(one.drop_off) ?? 0,
      seconds: quantilesIn(one.seconds),
    })),
    conversion: number(body.conversion),
    overallSeconds: quantilesIn(body.overall_seconds),
    breakdown: records(body.breakdown).map((one) => {
      const steps = records(one.steps);
      return { value: string(one.value) ?? "", entered: number(steps[0]?.people) ?? 0, share: number(steps.at(-1)?.share) };
    }),
  };
}

export function lifecycleIn({ body }: Answer): Lifecycle {
  return {
    period: string(body.period) ?? "",
    bars: records(body.bars).flatMap((one) => {
      const start = Date.parse(string(one.start) ?? "");
      if (Number.isNaN(start)) return [];
      return [
        {
          start,
          new: number(one.new) ?? 0,
          returning: number(one.returning) ?? 0,
          resurrecting: number(one.resurrecting) ?? 0,
          dormant: number(one.dormant) ?? 0,
          active: number(one.active) ?? 0,
          churnRate: number(one.churn_rate),
          growth: number(one.growth),
          state: oneOf(BAR_STATES, one.state) ?? "open",
        },
      ];
    }),
  };
}

/** Starts and ends are transitions from and to nowhere, whether they come among them or in lists of their own. */
export function pathsIn({ body }: Answer): Paths {
  const transitions = records(body.transitions).flatMap((one): Transition[] => {
    const [from, to, count] = [string(one.from), string(one.to), number(one.count)];
    return from === null || to === null || count === null ? [] : [{ from, to, count }];
  });
  const pages = (sent: unknown, make: (page: string, count: number) => Transition): Transition[] =>
    records(sent).flatMap((one) => {
      const [page, count] = [string(one.page), number(one.count)];
      return page === null || count === null ? [] : [make(page, count)];
    });
  const starts = transitions.some(({ from }) => from === START) ? [] : pages(body.starts, (to, count) => ({ from: START, to, count }));
  const ends = transitions.some(({ to }) => to === END) ? [] : pages(body.ends, (from, count) => ({ from, to: END, count }));
  return { transitions: [...transitions, ...starts, ...ends].filter(({ count }) => count > 0) };
}

function cellIn(sent: unknown): RetentionCell | null {
  if (!isRecord(sent)) return null;
  const share = number(sent.share);
  if (share === null) return null;
  return { offset: string(sent.offset) ?? "", people: number(sent.people) ?? 0, share, partial: sent.partial === true };
}

function timeIn(sent: unknown): number | null {
  const time = Date.parse(string(sent) ?? "");
  return Number.isNaN(time) ? null : time;
}

function quantilesIn(sent: unknown): Quantiles | null {
  return isRecord(sent) ? { p50: number(sent.p50), p90: number(sent.p90) } : null;
}

export function records(sent: unknown): Record<string, unknown>[] {
  return Array.isArray(sent) ? (sent as unknown[]).filter(isRecord) : [];
}
