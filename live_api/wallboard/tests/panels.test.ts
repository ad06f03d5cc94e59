import { describe, expect, it } from "vitest";
import { capacitiesOf } from "../src/panels";
import { tile } from "./tile-world";

describe("what the store keeps", () => {
  it("is the present window of each tile and the last hour of its small one", () => {
    const capacity = capacitiesOf([tile(), tile({ window: "1h" })]);
    expect([capacity("claims", "1d"), capacity("claims", "1h"), capacity("claims", "1m"), capacity("claims", "10s")]).toEqual([4, 4, 64, 0]);
    expect(capacitiesOf([tile({ metric: null })])("claims", "1d")).toBe(0);
  });

  it("is also windows that have no width", () => {
    const capacity = capacitiesOf([tile({ window: "day" }), tile({ window: "5m/10s", fine: null })]);
    expect([capacity("claims", "day"), capacity("claims", "1m"), capacity("claims", "5m/10s")]).toEqual([4, 64, 4]);
  });
});
