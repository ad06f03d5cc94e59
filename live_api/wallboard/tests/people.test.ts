import { describe, expect, it } from "vitest";
import { answerIn, END, funnelIn, lifecycleIn, pathsIn, retentionIn, START } from "../src/people";
import { funnel, lifecycle, paths, retention } from "./people-world";
import { NOON } from "./sample";

const RUBBISH = [{}, { cohorts: 3, offsets: [1], steps: {}, bars: [null, 7, { start: "soon" }], transitions: [{ from: "/" }], starts: "no", state: "live" }];

describe("an answer about people", () => {
  it("is read whole", () => {
    expect(answerIn({ as_of: "2024-04-02T12:00:00Z", state: "live" })).toMatchObject({ asOf: NOON, state: "live" });
    expect(retentionIn(retention()).cohorts[0]!.cells[1]).toEqual({ offset: "1", people: 84, share: 0.42, partial: false });
    expect(retentionIn(retention()).cohorts[1]!.cells[2]).toBeNull();
    expect(funnelIn(funnel()).steps[1]).toEqual({
      step: 2,
      name: "Basket",
      people: 400,
      share: 0.4,
      fromPrevious: 0.4,
      dropOff: 600,
      seconds: { p50: 42, p90: 600 },
    });
    expect(lifecycleIn(lifecycle()).bars.map(({ state }) => state)).toEqual(["final", "corrected", "open"]);
  });

  it("has starts and ends as transitions, once", () => {
    const all = pathsIn(paths()).transitions;
    expect(all.filter(({ from }) => from === START)).toEqual([{ from: START, to: "/", count: 80 }]);
    expect(all.filter(({ to }) => to === END)).toEqual([{ from: "/pay", to: END, count: 15 }]);
    const told = pathsIn(paths({ transitions: [{ from: START, to: "/", count: 80 }, { from: "/pay", to: END, count: 15 }] })).transitions;
    expect(told).toHaveLength(2);
  });

  it("is empty rather than wrong where the server talks rubbish", () => {
    for (const sent of RUBBISH) {
      const answer = answerIn(sent);
      expect(retentionIn(answer).cohorts).toEqual([]);
      expect(funnelIn(answer).steps).toEqual([]);
      expect(lifecycleIn(answer).bars).toEqual([]);
      expect(pathsIn(answer).transitions).toEqual([]);
    }
    expect(answerIn({}).asOf).toBeNull();
    expect(answerIn({ as_of: "yesterday" }).state).toBe("processor_silent");
    expect(() => answerIn([])).toThrow("/v1/people");
  });
});
