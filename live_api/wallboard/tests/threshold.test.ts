import { describe, expect, it } from "vitest";
import { levelOf, levelWhen, LOOKS, worst } from "../src/threshold";

describe("a level", () => {
  it("is of a value that is bad when it is high", () => {
    const at = (value: number) => levelOf(value, { warning: 400, critical: 600 });
    expect([399, 400, 599, 600, 1e9].map(at)).toEqual(["ok", "warning", "warning", "critical", "critical"]);
  });

  it("is of a value that is bad when it is low", () => {
    const at = (value: number) => levelOf(value, { warning: 50, critical: 10 });
    expect([51, 50, 11, 10, -5].map(at)).toEqual(["ok", "warning", "warning", "critical", "critical"]);
  });

  it("takes one threshold alone for an upper one", () => {
    expect(levelOf(5, { warning: 5, critical: null })).toBe("warning");
    expect(levelOf(4, { warning: null, critical: 5 })).toBe("ok");
  });

  it("says nothing without a threshold or a value: that is not the same as well", () => {
    expect(levelOf(5, { warning: null, critical: null })).toBe("none");
    expect(levelOf(null, { warning: 1, critical: 2 })).toBe("none");
    expect(levelOf(NaN, { warning: 1, critical: 2 })).toBe("none");
  });

  it("of several is the worst", () => {
    expect(worst(["ok", "critical", "none", "warning"])).toBe("critical");
    expect(worst([])).toBe("none");
  });

  it("is not shown as well when nobody knows that it still is", () => {
    expect((["live", "stale", "late", "lost", "source_down", "waiting"] as const).map((one) => levelWhen(one, "ok"))).toEqual(["ok", "none", "none", "none", "none", "none"]);
    expect((["live", "stale", "late", "lost", "source_down", "waiting"] as const).map((one) => levelWhen(one, "critical"))).toEqual(["critical", "critical", "critical", "none", "none", "none"]);
  });

  it("is told by colour, shape and word, each its own", () => {
    for (const part of ["colour", "shape", "word"] as const) {
      expect(new Set(Object.values(LOOKS).map((look) => look[part])).size).toBe(3);
    }
  });
});
