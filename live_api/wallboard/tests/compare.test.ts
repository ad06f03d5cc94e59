import { describe, expect, it } from "vitest";
import { compareQuery, deltaOf, COMPARED_FOR_MS } from "../src/compare";
import { panelOf } from "../src/panels";
import { DAY, NOON, tile } from "./sample";

const yesterday = tile({ compare: "yesterday" });
const panel = panelOf(yesterday)!;
const delta = (now: number, before: number) => deltaOf(yesterday, panel, now, { now, yesterday: before, at: NOON }, NOON);

describe("set against yesterday", () => {
  it("is a share of what was, with its sign", () => {
    expect(delta(112, 100)).toMatchObject({ direction: "up", amount: "+12%", against: "yesterday by now" });
    expect(delta(50, 100)).toMatchObject({ direction: "down", amount: "\u221250%" });
    expect(delta(100, 100)).toMatchObject({ direction: "same", amount: "same" });
    expect(delta(1_000_001, 1_000_000)).toMatchObject({ direction: "same" });
    expect(delta(1_005, 1_000)).toMatchObject({ amount: "+0.5%" });
  });

  it("is a difference where there is nothing to take a share of, and a multiple where a share says little", () => {
    expect(delta(7, 0)).toMatchObject({ direction: "up", amount: "+7" });
    expect(delta(-7, -3)).toMatchObject({ direction: "down", amount: "\u22124" });
    expect(delta(5_000, 100)).toMatchObject({ direction: "up", amount: "50×" });
  });

  it("is not said when it is old, or of a day that has ended", () => {
    const compared = { now: 10, yesterday: 5, at: NOON };
    expect(deltaOf(yesterday, panel, 10, compared, NOON + COMPARED_FOR_MS + 1)).toBeNull();
    const midnight = DAY + 86_400_000;
    expect(deltaOf(yesterday, panel, 10, { ...compared, at: midnight - 1_000 }, midnight)).toBeNull();
    expect(deltaOf(yesterday, panel, 10, undefined, NOON)).toBeNull();
    expect(deltaOf(tile(), panel, 10, compared, NOON)).toBeNull();
  });
});

it("set against a target says which", () => {
  const of = (target: number | null, ofMetric: number | null) => {
    const one = tile({ compare: "target", target }, { target: ofMetric });
    return deltaOf(one, panelOf(one)!, 450, undefined, NOON);
  };
  expect(of(500, 400)).toMatchObject({ direction: "down", amount: "\u221210%", against: "target 500" });
  expect(of(null, 400)).toMatchObject({ direction: "up", against: "target 400" });
  expect(of(null, null)).toBeNull();
});

it("asks for the number that the tile shows", () => {
  const one = tile({ dimensions: { community: "Riverside" }, key: "0.99" });
  expect(compareQuery(one, panelOf(one)!).toString()).toBe("community=Riverside&metric=edits&window=1d&key=0.99");
});
