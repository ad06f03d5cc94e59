/** Answers about people, as the server gives them. */

import { answerIn, type Answer } from "../src/people";
import { NOON } from "./sample";

const answer = (type: string, body: Record<string, unknown>): Answer =>
  answerIn({ analysis: "some", type, title: "Some", as_of: new Date(NOON).toISOString(), state: "live", ...body });

/** A cohort of so many people, of whom so many came back after each period; the last of them is partial. */
export function cohort(name: string, people: number, returned: number[], over: Record<string, unknown> = {}): Record<string, unknown> {
  const cells = returned.map((count, at) => ({ offset: String(at), people: count, share: count / people, partial: at === returned.length - 1 }));
  return { cohort: name, segment: null, people, cells, revenue: null, ltv: null, ...over };
}

export const retention = (over: Record<string, unknown> = {}): Answer =>
  answer("retention", {
    period: "week",
    mode: "first_time",
    rolling: false,
    offsets: ["0", "1", "2"],
    cohorts: [cohort("2026-05-04", 200, [200, 84, 3]), { ...cohort("2026-05-11", 100, [100, 8]), cells: [...(cohort("2026-05-11", 100, [100, 8]).cells as unknown[]), null] }],
    overall: [{ offset: "0", people: 300, of: 300, share: 1 }, { offset: "1", people: 84, of: 200, share: 0.42 }],
    ...over,
  });

export const funnel = (over: Record<string, unknown> = {}): Answer =>
  answer("funnel", {
    order: "strict",
    window: "1h",
    period: "day",
    steps: [
      { step: 1, name: "Home", people: 1000, share: 1, from_previous: 1, drop_off: 0, seconds: null, histogram: [] },
      { step: 2, name: "Basket", people: 400, share: 0.4, from_previous: 0.4, drop_off: 600, seconds: { p50: 42, p90: 600 }, histogram: [] },
      { step: 3, name: "Paid", people: 12, share: 0.012, from_previous: 0.03, drop_off: 388, seconds: { p50: 190, p90: null }, histogram: [] },
    ],
    conversion: 0.012,
    overall_seconds: { p50: 240, p90: 3000 },
    ...over,
  });

export const lifecycle = (over: Record<string, unknown> = {}): Answer => {
  const bar = (day: number, active: [number, number, number], dormant: number, state = "final"): Record<string, unknown> => ({
    start: new Date(NOON - day * 86_400_000).toISOString(),
    new: active[0],
    returning: active[1],
    resurrecting: active[2],
    dormant,
    active: active[0] + active[1] + active[2],
    churn_rate: 0.125,
    growth: -0.04,
    state,
  });
  return answer("lifecycle", { period: "day", bars: [bar(2, [10, 60, 5], 20), bar(1, [12, 70, 8], 30, "corrected"), bar(0, [1, 9, 0], 0, "open")], ...over });
};

export const paths = (over: Record<string, unknown> = {}): Answer =>
  answer("paths", {
    window: "day",
    start: new Date(NOON).toISOString(),
    transitions: [{ from: "/", to: "/shop", count: 60 }, { from: "/shop", to: "/pay", count: 20 }, { from: "/", to: "/help", count: 10 }],
    starts: [{ page: "/", count: 80 }],
    ends: [{ page: "/pay", count: 15 }],
    ...over,
  });
