import { describe, expect, it } from "vitest";
import type { SentPoint } from "../src/protocol";
import { SeriesStore } from "../src/store";
import { Order } from "../src/tiles/order";
import { topOf } from "../src/tiles/top_k";
import { DAY, moment, storeOf, tile } from "./tile-world";

const about = tile({ type: "top_k" }, { measure: "top_k", by: [] });

function top(point: Partial<SentPoint>, over = about) {
  const store = new SeriesStore();
  const whole: SentPoint = { start: DAY, value: {}, count: 1_000, state: "open", revision: 1, error: null, ...point };
  store.update(new Map([["k", { metric: "claims", window: "1d", dimensions: {}, points: [whole] }]]), DAY);
  return topOf(over, store, new Order(), moment());
}

describe("the most frequent", () => {
  it("are bars, the most frequent first, also where the texts look like numbers", () => {
    const found = top({ value: { "404": 20, "500": 80, "": 5 } });
    expect(found.bars.map(({ label, value, to }) => [label, value, to])).toEqual([
      ["500", "80", 1],
      ["404", "20", 0.25],
      ["(empty)", "5", 0.0625],
    ]);
    expect(found).toMatchObject({ period: "today so far", of: null, approximate: null, hidden: 0 });
  });

  it("are as many as the tile asks for, and the others are counted", () => {
    expect(top({ value: { a: 1, b: 2, c: 3 } }, { ...about, limit: 2 })).toMatchObject({ hidden: 1, bars: [{ id: "c" }, { id: "b" }] });
  });

  it("say by how much they may be wrong", () => {
    expect(top({ value: { a: 1 }, error: 0.0021 }).approximate).toBe("each up to 3 too low");
    expect(top({ value: { a: 1 }, error: 0 }).approximate).toBeNull();
  });

  it("are none of nothing, of a plain number and of an unknown metric", () => {
    expect(top({ value: {} }).bars).toEqual([]);
    expect(top({ value: 7 }).bars).toEqual([]);
    expect(topOf(about, new SeriesStore(), new Order(), moment()).bars).toEqual([]);
    expect(topOf({ ...about, metric: null }, new SeriesStore(), new Order(), moment()).bars).toEqual([]);
  });

  it("of several series are those of the one with most events, and say so", () => {
    const store = storeOf("1d", { Hill: [[DAY, { a: 1 }]], Dale: [[DAY, { b: 1 }]] });
    const by = tile({ type: "top_k" }, { measure: "top_k" });
    expect(topOf(by, store, new Order(), moment())).toMatchObject({ of: "Dale, 1 of 2", bars: [{ id: "b" }] });
    const one = { ...by, dimensions: { community: "Hill" } };
    expect(topOf(one, store, new Order(), moment())).toMatchObject({ of: null, bars: [{ id: "a" }] });
  });
});
