import { expect, it } from "vitest";
import { Zone } from "../src/format";
import { lifecycleIn } from "../src/people";
import { labelled, scaleOf, stacksOf } from "../src/tiles/lifecycle";
import { lifecycle } from "./people-world";
import { NOON } from "./sample";

const stacks = (over: Record<string, unknown> = {}, most = 30) => stacksOf(lifecycleIn(lifecycle(over)), new Zone("UTC"), most);

it("stacks who was there above the line, and who was not any more below it", () => {
  const { bars, top, bottom } = stacks();
  expect(bars[0]!.parts).toEqual([
    { kind: "returning", from: 0, to: 60 },
    { kind: "resurrecting", from: 60, to: 65 },
    { kind: "new", from: 65, to: 75 },
    { kind: "dormant", from: -20, to: 0 },
  ]);
  expect(bars[2]!.parts.map(({ kind }) => kind)).toEqual(["returning", "new"]);
  expect([top, bottom]).toEqual([100, -30]);
});

it("tells open, corrected and final periods apart", () => {
  const { bars, latest, rates } = stacks();
  expect(bars.map(({ label, open, mark }) => [label, open, mark])).toEqual([
    ["31 Mar", false, ""],
    ["1 Apr", false, "corrected"],
    ["2 Apr", true, "so far"],
  ]);
  expect(latest?.values).toEqual({ new: "1", returning: "9", resurrecting: "0", dormant: "0" });
  // Who is gone is known when the day is over.
  expect(rates).toBe("1 Apr: churn 13%, growth −4.0%");
});

it("has the latest periods, by the names of their months", () => {
  expect(stacks({}, 1).bars.map(({ label }) => label)).toEqual(["2 Apr"]);
  expect(stacks({ period: "month" }).bars.at(-1)!.label).toBe("Apr 2024");
});

it("labels the scale at its ends and the line, and some of the bars", () => {
  expect(scaleOf(stacks()).map(({ at, text }) => [Math.round(100 * at), text])).toEqual([[0, "100"], [77, "0"], [100, "30"]]);
  expect([...labelled(30, 4)].sort((one, other) => one - other)).toEqual([5, 13, 21, 29]);
  expect(labelled(2, 9)).toEqual(new Set([0, 1]));
});

it("takes nobody, and nothing", () => {
  expect(stacks({ bars: [] })).toMatchObject({ bars: [], top: 1, bottom: 0, latest: null, rates: "" });
  const nobody = stacks({ bars: [{ start: new Date(NOON).toISOString(), state: "final", churn_rate: null, growth: null }] });
  expect(nobody).toMatchObject({ top: 1, bottom: 0, rates: "" });
  expect(nobody.bars[0]!.parts).toEqual([]);
});
