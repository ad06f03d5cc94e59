import { describe, expect, it } from "vitest";
import { SeriesStore } from "../src/store";
import { barsOf } from "../src/tiles/bar";
import { Order } from "../src/tiles/order";
import { DAY, moment, NOON, put, storeOf, tile } from "./tile-world";

const bars = (...[about, store, at = moment(), limit]: [Parameters<typeof barsOf>[0], SeriesStore, ReturnType<typeof moment>?, number?]) =>
  barsOf(about, store, new Order(), at, limit);

describe("bars", () => {
  it("are the present window's values, largest first, on a scale from zero", () => {
    const store = storeOf("1d", { Hill: [[DAY - 86_400_000, 900], [DAY, 5, "open"]], Dale: [[DAY, 20, "open"]] });
    const found = bars(tile(), store);
    expect(found.bars.map(({ label, value, from, to }) => [label, value, from, to])).toEqual([
      ["Dale", "20", 0, 1],
      ["Hill", "5", 0, 0.25],
    ]);
    expect([found.period, found.hidden, found.zeroAt]).toEqual(["today so far", 0, 0]);
  });

  it("are none where nothing is known, whether there is a metric or not", () => {
    expect(bars(tile(), new SeriesStore())).toMatchObject({ bars: [], hidden: 0, period: "" });
    expect(bars(tile({ metric: null, window: null }), new SeriesStore()).bars).toEqual([]);
  });

  it("are no more than the limit, nor than there is room for; the others are counted", () => {
    const told = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`#${index}`, [[DAY, index]] as [number, number][]]));
    const store = storeOf("1d", told);
    const found = bars(tile({ limit: 10 }), store);
    expect(found.bars.map((bar) => bar.label).slice(0, 2)).toEqual(["#299", "#298"]);
    expect([found.bars.length, found.hidden]).toEqual([10, 290]);
    expect(bars(tile({ limit: 10 }), store, moment(), 4)).toMatchObject({ hidden: 296 });
    expect(bars(tile({ limit: 3 }), store, moment(), 40).bars).toHaveLength(3);
  });

  it("go to the left of zero for what is below it", () => {
    const found = bars(tile({}, { measure: "sum" }), storeOf("1d", { up: [[DAY, 30]], down: [[DAY, -10]] }));
    expect(found.zeroAt).toBe(0.25);
    expect(found.bars.map(({ label, from, to }) => [label, from, to])).toEqual([
      ["up", 0.25, 1],
      ["down", 0, 0.25],
    ]);
    const below = bars(tile(), storeOf("1d", { a: [[DAY, -4]] }));
    expect([below.zeroAt, below.bars[0]!.from, below.bars[0]!.to]).toEqual([1, 0, 1]);
    expect(bars(tile(), storeOf("1d", { a: [[DAY, 0]] })).bars[0]).toMatchObject({ from: 0, to: 0 });
  });

  it("of a count start again with a new window, and of a mean stand until it has a value", () => {
    const yesterday = { a: [[DAY - 86_400_000, 900]] as [number, number][] };
    const at = moment({ watermark: NOON });
    expect(bars(tile(), storeOf("1d", yesterday), at).bars[0]).toMatchObject({ value: "0", former: false });
    const store = storeOf("1h", { a: [[NOON - 3_600_000, 42]], b: [[NOON, 7, "open"]], c: [[NOON - 4 * 3_600_000, 1]] });
    const found = bars(tile({ window: "1h" }, { measure: "mean" }), store, at);
    expect(found.bars.map(({ label, value, former }) => [label, value, former])).toEqual([
      ["a", "42", true],
      ["b", "7", false],
    ]);
  });

  it("say how bad their value is, and where the thresholds lie", () => {
    const about = tile({ target: 40, warning: 60, critical: 90 });
    const found = bars(about, storeOf("1d", { a: [[DAY, 100]], b: [[DAY, 60]], c: [[DAY, 1]] }));
    expect(found.bars.map((bar) => bar.level)).toEqual(["critical", "warning", "ok"]);
    expect(found.marks.map(({ kind, at, text }) => [kind, at, text])).toEqual([
      ["target", 0.4, "target 40"],
      ["warning", 0.6, "warning 60"],
      ["critical", 0.9, "critical 90"],
    ]);
    const far = bars(tile({ target: 5000 }), storeOf("1d", { a: [[DAY, 100]] }));
    expect([far.marks[0]!.at, far.bars[0]!.to]).toEqual([null, 1]);
    expect(bars(tile({ target: 200 }), storeOf("1d", { a: [[DAY, 100]] })).bars[0]!.to).toBe(0.5);
  });

  it("are called by the dimensions that the tile leaves free, and known when they stand for many", () => {
    const by = ["platform", "city"];
    const store = storeOf("1d", {
      '{"platform":"ios","city":"Paris"}': [[DAY, 3]],
      '{"platform":"ios","city":"__none__"}': [[DAY, 2]],
      '{"platform":"web","city":"Rome"}': [[DAY, 9]],
      '{"platform":"__other__","city":"__other__"}': [[DAY, 1]],
    });
    expect(bars(tile({ dimensions: { platform: "ios" } }, { by }), store).bars.map((bar) => bar.label)).toEqual(["Paris", "(none)"]);
    const all = bars(tile({}, { by }), store).bars;
    expect(all.map((bar) => bar.label)).toEqual(["web · Rome", "ios · Paris", "ios · (none)", "other"]);
    expect(all.map((bar) => bar.other)).toEqual([false, false, false, true]);
  });

  it("of a metric with several values a point show the one the tile asks for", () => {
    const store = storeOf("1d", { a: [[DAY, { p50: 3, p99: 80 }]], b: [[DAY, { p50: 9 }]] });
    const found = bars(tile({ key: "p99" }, { measure: "quantile" }), store);
    expect(found.bars.map(({ label, value }) => [label, value])).toEqual([["a", "80"]]);
  });

  it("of windows without a width are of the present one", () => {
    const store = storeOf("day", { a: [[DAY - 86_400_000, 900], [DAY, 7, "open"]], b: [[DAY, 9, "open"]] });
    expect(bars(tile({ window: "day" }), store)).toMatchObject({ bars: [{ value: "9" }, { value: "7" }], period: "today so far" });
    const last = storeOf("5m/10s", { a: [[NOON - 290_000, 3, "open"]], b: [[NOON - 300_000, 9]] });
    const found = bars(tile({ window: "5m/10s" }), last);
    expect([found.bars.map((bar) => bar.value), found.period]).toEqual([["3", "0"], "the last 5\u00a0min"]);
    expect(bars(tile({ window: "7d/day" }), storeOf("7d/day", { a: [[DAY, 3, "open"]] })).period).toBe("the last 7\u00a0days");
    expect(bars(tile({ window: "week" }), storeOf("week", { a: [[DAY, 3]] })).period).toBe("week from 2 Apr 2024, 00:00");
  });

  it("do not change places within three seconds", () => {
    const store = storeOf("1d", { a: [[DAY, 2]], b: [[DAY, 1]] });
    const order = new Order();
    const labels = (now: number) => barsOf(tile(), store, order, moment({ now })).bars.map((bar) => bar.label);
    expect(labels(NOON)).toEqual(["a", "b"]);
    put(store, "1d", { b: [[DAY, 9]] });
    expect(labels(NOON + 2_000)).toEqual(["a", "b"]);
    expect(labels(NOON + 3_000)).toEqual(["b", "a"]);
  });
});
