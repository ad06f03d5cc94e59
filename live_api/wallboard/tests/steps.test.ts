import { describe, expect, it } from "vitest";
import { roundUp, stepOf, stepsOf } from "../src/tiles/steps";

describe("steps", () => {
  it("are equal and end at a round number", () => {
    expect(stepsOf([40, 57, 31], true).edges).toEqual([0, 10, 20, 30, 40, 50, 60]);
  });

  it("grow wider where most values are far below the largest", () => {
    const edges = stepsOf([1, 2, 2, 3, 3, 4, 900], true).edges;
    expect(edges[0]).toBe(0);
    expect(edges.at(-1)).toBe(1000);
    expect(edges.slice(0, 4)).toEqual([0, 30, 120, 250]);
  });

  it("do not start at zero for what is far from it", () => {
    const { edges } = stepsOf([98.2, 99.7], false);
    expect(edges[0]!).toBeGreaterThan(90);
    expect(edges.at(-1)!).toBeGreaterThanOrEqual(99.7);
  });

  it("tell below zero from above", () => {
    const both = stepsOf([-5, 1, 17], true);
    expect(both.edges[both.zeroAt]).toBe(0);
    expect(stepOf(both, -0.1)).toBe(both.zeroAt - 1);
    expect(stepOf(both, 0)).toBe(both.zeroAt);
    const below = stepsOf([-5, -1], false);
    expect(below.edges.at(-1)).toBe(0);
    expect(below.zeroAt).toBe(3);
  });

  it("are there for no values, zeros and one value", () => {
    for (const values of [[], [0], [0, 0], [7], [1e-9], [1e15]]) {
      const { edges } = stepsOf(values, true);
      expect(edges.every((edge, index) => index === 0 || edge > edges[index - 1]!)).toBe(true);
      for (const value of values) expect(value).toBeLessThanOrEqual(edges.at(-1)!);
    }
    for (const value of [0, 5, -5, 1e9]) {
      const { edges } = stepsOf([value], false);
      expect(edges.every((edge, index) => index === 0 || edge > edges[index - 1]!)).toBe(true);
    }
  });

  it("hold every value, the outermost what is beyond", () => {
    const steps = stepsOf([0, 60], true);
    expect([-1, 0, 9.99, 10, 59, 60, 1e9].map((value) => stepOf(steps, value))).toEqual([0, 0, 0, 1, 5, 5, 5]);
  });
});

describe("rounding up", () => {
  it("never falls short, and never by more than a half", () => {
    for (let value = 1e-6; value < 1e9; value *= 1.07) {
      expect(roundUp(value)).toBeGreaterThanOrEqual(value * (1 - 1e-9));
      expect(roundUp(value)).toBeLessThanOrEqual(value * 1.5);
    }
    expect([roundUp(0), roundUp(-3), roundUp(NaN)]).toEqual([1, 1, 1]);
  });
});
