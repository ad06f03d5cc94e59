import { expect, it } from "vitest";
import { Lateness } from "../src/lateness";
import type { StreamState, System } from "../src/protocol";

function system(watermarkMs: number | null, stream: Partial<StreamState>): System {
  const known = { lag: 0, lagMs: 0, caughtUp: true, seenMs: 0, maxEventMs: null, gaps: 0, lost: 0, lostExact: true };
  return {
    state: "live",
    processorSeenMs: 0,
    watermarkMs,
    streams: { one: { ...known, ...stream }, two: known },
    watch: null,
    rejects: null,
    rejectedTotal: null,
  };
}

const after = (...heard: System[]): number | null => {
  const lateness = new Lateness();
  for (const one of heard) lateness.heard(one);
  return lateness.behindMs;
};

it("is what waits in the streams, and nothing when they are caught up", () => {
  expect(after(system(null, { caughtUp: false, lagMs: 90_000 }))).toBe(90_000);
  expect(after(system(null, { caughtUp: true, lagMs: 90_000 }))).toBeNull();
  expect(after(system(null, { caughtUp: false, lagMs: null }))).toBeNull();
});

it("is a watermark that stands while events move on", () => {
  expect(after(system(0, { maxEventMs: 1_000 }), system(0, { maxEventMs: 61_000 }))).toBe(60_000);
  expect(after(system(0, { maxEventMs: 1_000 }), system(0, { maxEventMs: 21_000 }))).toBeNull();
  expect(after(system(0, { maxEventMs: 1_000 }), system(0, { maxEventMs: 61_000 }), system(5, { maxEventMs: 61_000 }))).toBeNull();
});

it("is not a replay of old events, whose watermark leaps", () => {
  const steps = Array.from({ length: 50 }, (_, index) => system(index * 600_000, { maxEventMs: index * 600_000 + 2_000 }));
  expect(after(...steps)).toBeNull();
});
