import { describe, expect, it } from "vitest";
import { capacitiesOf, historyLength, panelOf } from "../src/panels";
import { tile } from "./sample";

describe("a panel", () => {
  it("is of two windows of a metric, and expects something new as often as its smallest one ends", () => {
    expect(panelOf(tile({ fine: "1m" }))).toMatchObject({ main: "1d", fine: "1m", fineMs: 60_000, expectedMs: 10_000 });
    expect(panelOf(tile({ window: "1h", fine: null }))).toMatchObject({ main: "1h", fine: "1h" });
  });

  it("is none for a tile about nothing, or about a window without a width", () => {
    expect(panelOf(tile({ metric: null }))).toBeNull();
    expect(panelOf(tile({ window: "total", fine: "total" }))).toBeNull();
  });

  it("knows what adds up", () => {
    const of = (measure: string) => {
      const panel = panelOf(tile({}, { measure }))!;
      return [panel.accumulates, panel.zeroWhenEmpty];
    };
    expect([of("count"), of("sum"), of("distinct"), of("mean")]).toEqual([
      [true, true],
      [true, true],
      [true, false],
      [false, false],
    ]);
  });
});

describe("memory", () => {
  it("is for an hour, within bounds", () => {
    expect([1_000, 10_000, 60_000, 3_600_000].map(historyLength)).toEqual([360, 360, 60, 24]);
  });

  it("is what the tiles need, and little for what they do not", () => {
    const capacity = capacitiesOf([tile({ fine: "1m" }), tile({ fine: "10s" }), tile({ metric: null })]);
    expect(capacity("edits", "1m")).toBe(64);
    expect(capacity("edits", "10s")).toBe(364);
    expect([capacity("edits", "1d"), capacity("other", "1m")]).toEqual([4, 4]);
  });

  it("is also for what is forecast of a line", () => {
    const capacity = capacitiesOf([tile({ type: "line", fine: "1m", forecast: "edits_forecast" })]);
    expect([capacity("edits_forecast", "1m"), capacity("edits_forecast", "10s")]).toEqual([64, 4]);
  });

  it("is also for windows that have no width", () => {
    const capacity = capacitiesOf([tile({ window: "day", fine: "1m" }), tile({ window: "5m/10s", fine: null })]);
    expect([capacity("edits", "day"), capacity("edits", "1m"), capacity("edits", "5m/10s")]).toEqual([4, 64, 4]);
  });
});
