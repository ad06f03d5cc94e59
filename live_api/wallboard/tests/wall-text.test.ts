import { describe, expect, it } from "vitest";
import { axisRange, lonePoints, WHOLE_STEPS } from "../src/axis";
import { Zone } from "../src/format";
import { lastEventFact, reasonsOf, reasonsText } from "../src/header";
import { shortLabels } from "../src/labels";

describe("names in a legend", () => {
  it("stay whole where they fit, and are cut in the middle where they do not", () => {
    expect(shortLabels(["Rust · exercise", "Go"], 20)).toEqual(["Rust · exercise", "Go"]);
    expect(shortLabels(["Rust · a first course · lifetimes"], 20)).toEqual(["Rust · a f…lifetimes"]);
  });

  it("never look alike when they are different", () => {
    const long = (middle: string): string => `Introduction to systems programming ${middle} for those who know some`;
    const labels = [long("in Rust"), long("in Go"), long("on paper"), long("in Rust"), "short"];
    for (const most of [1, 8, 16, 24, 40]) {
      const short = shortLabels(labels, most);
      expect(new Set(short).size).toBe(4);
      expect(short[0]).toBe(short[3]);
    }
    expect(shortLabels(labels, 16).slice(0, 2).every((label) => label.length <= 18)).toBe(true);
  });
});

describe("an axis", () => {
  const level = { fromZero: false, percent: false };

  it("does not go below zero, nor a percentage above 100, where no value does", () => {
    expect(axisRange(0, 100, { ...level, percent: true })[0]).toBe(0);
    expect(axisRange(0, 100, { ...level, percent: true })[1]).toBeLessThan(105);
    expect(axisRange(100, 100, { ...level, percent: true })[1]).toBeLessThan(105);
    expect(axisRange(0, 0, level)[0]).toBe(0);
    expect(axisRange(-3, 4, level)[0]).toBeLessThanOrEqual(-3);
    expect(axisRange(20, 120, { ...level, percent: true })[1]).toBeGreaterThanOrEqual(120);
  });

  it("holds all values, with room between its ends", () => {
    for (const [least, most] of [[30, 75], [0.01, 0.013], [7, 7], [-5, -5], [0, 1e9], [99, 100]] as const) {
      const [from, to] = axisRange(least, most, level);
      expect(from).toBeLessThanOrEqual(least);
      expect(to).toBeGreaterThanOrEqual(most);
      expect(to).toBeGreaterThan(from);
    }
    expect(axisRange(null, null, level)).toEqual([0, 1]);
    expect(axisRange(0, 0, { fromZero: true, percent: false })).toEqual([0, 1]);
  });

  it("counts in whole steps", () => {
    expect(WHOLE_STEPS.slice(0, 5)).toEqual([1, 2, 5, 10, 20]);
    expect(WHOLE_STEPS.every(Number.isInteger)).toBe(true);
  });

  it("has a dot where no line leads", () => {
    expect(lonePoints([1, null, 2, 3, null, null, 0])).toEqual([0, 6]);
    expect(lonePoints([null])).toEqual([]);
  });
});

describe("the header", () => {
  const zone = new Zone("UTC");
  const now = Date.UTC(2024, 3, 2, 12);

  it("says what is known of the latest event, or nothing", () => {
    expect(lastEventFact(now - 3_400, now, now, zone)).toEqual({ name: "last event", value: "3.4 s" });
    expect(lastEventFact(now - 180_000, null, now, zone)?.value).toBe("3 min");
    expect(lastEventFact(null, now - 10_000, now, zone)).toEqual({ name: "latest window from", value: "11:59:50" });
    expect(lastEventFact(null, Date.UTC(2019, 4, 4), now, zone)?.value).toBe("4 May 2019, 00:00:00");
    expect(lastEventFact(null, null, now, zone)).toBeNull();
  });

  it("leaves no refused event out of the list of reasons", () => {
    const text = (rejects: Record<string, number>, total: number) => reasonsText(reasonsOf(rejects), total);
    expect(text({ future: 1, malformed: 3, bad_type: 2, too_late: 0 }, 6)).toBe("malformed 3 · bad type 2 · future 1");
    expect(text({ a: 5, b: 4, c: 2, d: 1 }, 12)).toBe("a 5 · b 4 + 3 more");
    expect(text({ a: 5 }, 5)).toBe("a 5");
  });
});
