import { describe, expect, it } from "vitest";
import type { SentPoint } from "../src/protocol";
import { lastStart, slotsOf, sumOf } from "../src/slots";
import { SeriesStore } from "../src/store";
import { S, sent } from "./sample";

describe("a row of windows", () => {
  const series = (points: [number, number, SentPoint["state"]][]) => {
    const store = new SeriesStore();
    store.update(new Map([sent("10s", points)]), 0);
    return store.group("edits", "10s")!.series.values().next().value!;
  };

  it("has zeros between known windows of a count, and nothing before the first", () => {
    const one = series([
      [2 * S, 5, "final"],
      [5 * S, 7, "final"],
      [6 * S, 1, "open"],
    ]);
    expect(slotsOf(one, 7 * S, 8, S, { zeroWhenEmpty: true, completeUpTo: null })).toEqual({
      closed: [null, null, 5, 0, 0, 7, null, null],
      open: [null, null, null, null, null, null, 1, null],
    });
  });

  it("has unknown windows where nothing says that empty means zero", () => {
    const one = series([
      [0, 5, "final"],
      [2 * S, 7, "final"],
    ]);
    expect(slotsOf(one, 2 * S, 3, S, { zeroWhenEmpty: false, completeUpTo: 9 * S }).closed).toEqual([5, null, 7]);
  });

  it("goes on with zeros as far as the processor says it is complete", () => {
    const one = series([[0, 5, "final"]]);
    const completeUpTo = 3.5 * S;
    expect(lastStart([one], S, completeUpTo)).toBe(2 * S);
    expect(slotsOf(one, 2 * S, 3, S, { zeroWhenEmpty: true, completeUpTo }).closed).toEqual([5, 0, 0]);
  });

  it("adds up with others, and is open where one of them is", () => {
    const one = { closed: [null, 1, 2], open: [null, null, null] };
    const other = { closed: [null, 4, null], open: [null, null, 5] };
    expect(sumOf([one, other])).toEqual({ closed: [null, 5, null], open: [null, null, 7] });
    expect(sumOf([])).toEqual({ closed: [], open: [] });
  });
});
