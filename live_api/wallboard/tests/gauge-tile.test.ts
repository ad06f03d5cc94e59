import { describe, expect, it } from "vitest";
import { SeriesStore } from "../src/store";
import { gaugeOf } from "../src/tiles/gauge";
import { DAY, moment, storeOf, tile } from "./tile-world";

const about = (over = {}, unit: string | null = null) => ({ ...tile({ type: "gauge", ...over }, { by: [], measure: "last" }), unit });
const gauge = (over: object, value: number | null, unit: string | null = null) =>
  gaugeOf(about(over, unit), value === null ? new SeriesStore() : storeOf("1d", { "{}": [[DAY, value]] }), moment());

describe("the gauge", () => {
  it("puts the value on the tile's scale, with zones and the target", () => {
    const found = gauge({ min: 0, max: 1000, warning: 400, critical: 600, target: 500 }, 450);
    expect(found).toMatchObject({ value: "450", at: 0.45, beyond: null, level: "warning", least: "0", most: "1,000" });
    expect(found.zones).toEqual([
      { from: 0, to: 0.4, level: "ok" },
      { from: 0.4, to: 0.6, level: "warning" },
      { from: 0.6, to: 1, level: "critical" },
    ]);
    expect(found.target).toEqual({ at: 0.5, text: "500" });
  });

  it("is read from zero where that is on the scale", () => {
    expect(gauge({ min: -50, max: 50 }, -25)).toMatchObject({ at: 0.25, zeroAt: 0.5 });
    expect([gauge({ min: 10, max: 50 }, 20).zeroAt, gauge({ min: -50, max: -10 }, -20).zeroAt]).toEqual([0, 1]);
  });

  it("knows that low may be bad", () => {
    const found = gauge({ min: 0, max: 100, warning: 50, critical: 20 }, 10);
    expect(found.level).toBe("critical");
    expect(found.zones.map((zone) => zone.level)).toEqual(["critical", "warning", "ok"]);
  });

  it("says when the value is off the scale", () => {
    expect(gauge({ min: 0, max: 100 }, 130)).toMatchObject({ at: 1, beyond: "above", value: "130" });
    expect(gauge({ min: 0, max: 100 }, -1)).toMatchObject({ at: 0, beyond: "below" });
    expect(gauge({ min: 0, max: 100, target: 200 }, 10).target).toBeNull();
  });

  it("finds a scale that has room for all its marks", () => {
    for (const [over, value, least, most] of [
      [{}, 42, "0", "50"],
      [{ target: 500 }, 42, "0", "600"],
      [{ critical: 80 }, 7, "0", "100"],
      [{}, -42, "-50", "0"],
      [{}, 0, "0", "1"],
      [{ min: 50 }, 42, "50", "100"],
      [{ min: 10 }, 42, "10", "50"],
      [{ max: -10 }, -42, "-50", "-10"],
      [{ max: 0 }, 3, "-1", "0"],
    ] as const) {
      expect([over, gauge(over, value).least, gauge(over, value).most]).toEqual([over, least, most]);
    }
    expect(gauge({}, 42, "%").most).toBe("100");
    expect(gauge({}, 142, "%").most).toBe("200");
  });

  it("has zones of one kind where there is one threshold, and none that says all is well without any", () => {
    expect(gauge({ max: 100, critical: 80 }, 7).zones.map((zone) => zone.level)).toEqual(["ok", "critical"]);
    expect(gauge({ max: 100 }, 7).zones).toEqual([{ from: 0, to: 1, level: "none" }]);
    expect(gauge({ max: 100, warning: 400 }, 7).zones).toEqual([{ from: 0, to: 1, level: "ok" }]);
  });

  it("has no number before there is one", () => {
    expect(gauge({ target: 5 }, null)).toMatchObject({ number: null, value: null, at: null, level: "none", period: "", problem: null });
    expect([gauge({}, null).most, gauge({ target: 5 }, null).most]).toEqual(["", "6"]);
    expect(gaugeOf(about({ metric: null }), new SeriesStore(), moment()).value).toBeNull();
  });

  it("shows a window without a width", () => {
    const found = gaugeOf(about({ window: "day" }), storeOf("day", { "{}": [[DAY, 7, "open"]] }), moment());
    expect([found.value, found.period]).toEqual(["7", "today so far"]);
  });

  it("adds up what can be, and asks for one series of what cannot", () => {
    const store = storeOf("1d", { Hill: [[DAY, 1]], Dale: [[DAY, 2]] });
    expect(gaugeOf(tile({ type: "gauge" }), store, moment())).toMatchObject({ value: "3", problem: null });
    const mean = tile({ type: "gauge" }, { measure: "mean" });
    const problem = "2 series, which do not add up: give the tile dimensions that leave one";
    expect(gaugeOf(mean, store, moment())).toMatchObject({ value: null, problem });
    expect(gaugeOf({ ...mean, dimensions: { community: "Dale" } }, store, moment())).toMatchObject({ value: "2", problem: null });
  });

  it("is set against its target or yesterday", () => {
    expect(gauge({ target: 50, compare: "target" }, 25).delta).toMatchObject({ direction: "down", amount: "\u221250%" });
    expect(gauge({}, 25).delta).toBeNull();
  });
});
