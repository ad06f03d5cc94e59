import { describe, expect, it } from "vitest";
import { aheadOf, forecastsOf, foreseen, mostAhead, reachOf } from "../src/ahead";
import type { SentPoint, SentSeries } from "../src/protocol";
import { SeriesStore } from "../src/store";
import { chartOf, Ranking, type Chart } from "../src/tiles/line";
import { moment, NOON, S, sent, tile } from "./sample";

const FORECAST = "edits_forecast";
const line = tile({ type: "line", forecast: FORECAST });

/** What is said of a window, this many behind NOON, as a number and ten to either side. */
type Said = [ahead: number, value: number];

function said(horizon: number, told: Said[], dimensions: Record<string, string> = {}): [string, SentSeries] {
  const points = told.map(([ahead, value]): [number, SentPoint["value"], SentPoint["state"]] => [
    NOON + ahead * S,
    { value, lower: value - 10, upper: value + 10 },
    "final",
  ]);
  return sent("10s", points, { ...dimensions, horizon: String(horizon) }, FORECAST);
}

function storeOf(...series: [string, SentSeries][]): SeriesStore {
  const store = new SeriesStore();
  store.update(new Map(series), NOON);
  return store;
}

const of = (store: SeriesStore, over = {}) => forecastsOf({ ...line, ...over }, store, "10s", S);
const only = (store: SeriesStore) => of(store).get("[]")!;

describe("what is forecast", () => {
  it("is said of a few windows behind the last one known, nearest first", () => {
    const { origin, said: all } = only(storeOf(said(12, [[11, 60]]), said(1, [[-1, 7], [0, 9]]), said(6, [[5, 30]])));
    expect(origin).toBe(NOON - S);
    expect(all.map(({ start, value }) => [(start - NOON) / S, value])).toEqual([[0, 9], [5, 30], [11, 60]]);
  });

  it("is what was said last: what another horizon said before is of another past", () => {
    const { origin, said: all } = only(storeOf(said(1, [[3, 9]]), said(6, [[5, 30]])));
    expect([(origin - NOON) / S, all.length]).toEqual([2, 1]);
  });

  it("is of the line with the same dimensions, in whichever order", () => {
    const store = storeOf(said(1, [[1, 9]], { z: "1", a: "2" }));
    expect([...of(store).keys()]).toEqual([JSON.stringify([["a", "2"], ["z", "1"]])]);
  });

  it("is nothing where a tile has none, or what comes is something else", () => {
    const store = storeOf(said(1, [[1, 9]]), sent("10s", [[NOON, 5, "final"]], { horizon: "6" }, FORECAST), said(0, [[1, 9]]));
    expect(of(store, { forecast: null }).size).toBe(0);
    expect(only(store).said).toHaveLength(1);
    expect(of(storeOf(sent("10s", [[NOON, 5, "final"]], { horizon: "x" }, FORECAST))).size).toBe(0);
  });
});

describe("the way ahead", () => {
  const forecast = only(storeOf(said(1, [[0, 20]]), said(3, [[2, 40]])));
  const first = NOON - 4 * S;

  it("leads from the last known value in straight lines, with ends that go apart", () => {
    const ahead = aheadOf(forecast, 10, first, 7, S, NOON)!;
    expect(ahead.value).toEqual([null, null, null, 10, 20, 30, 40]);
    expect(ahead.lower).toEqual([null, null, null, 10, 10, 20, 30]);
    expect(ahead.upper).toEqual([null, null, null, 10, 30, 40, 50]);
  });

  it("begins with what is said first where the last value is not known", () => {
    expect(aheadOf(forecast, null, first, 7, S, NOON)!.value).toEqual([null, null, null, null, 20, 30, 40]);
  });

  it("ends where the chart does", () => {
    expect(aheadOf(forecast, 10, first, 6, S, NOON)!.value).toEqual([null, null, null, 10, 20, 30]);
  });

  it("is none for what is all of the past, or says nothing", () => {
    expect(aheadOf(forecast, 10, first, 7, S, NOON + 2 * S)).toBeNull();
    expect(aheadOf({ ...forecast, said: [] }, 10, first, 7, S, NOON)).toBeNull();
  });

  it("needs as much room as is said, but half of what the past has at the most", () => {
    expect(reachOf([forecast], NOON, S)).toBe(2);
    expect(reachOf([forecast], NOON + 5 * S, S)).toBe(0);
    expect(reachOf([], NOON, S)).toBe(0);
    expect(reachOf([only(storeOf(said(900, [[900, 1]])))], NOON, S)).toBe(mostAhead(S));
    expect([mostAhead(60_000), mostAhead(3_600_000)]).toEqual([30, 12]);
  });

  it("has a past: what was said of closed windows shortly before", () => {
    const past = only(storeOf(said(1, [[-2, 8], [-1, 9], [0, 20]])));
    expect(foreseen(past, [null, 5, 5, 5, null], first, S)).toEqual({
      lower: [null, null, -2, -1, null],
      upper: [null, null, 18, 19, null],
    });
  });
});

describe("a chart with a forecast", () => {
  const by = tile({ type: "line", forecast: FORECAST }, { by: ["channel"] });
  const channels = (names: string[]): SeriesStore =>
    storeOf(
      ...names.flatMap((channel) => [
        sent("10s", [[NOON - 2 * S, 8, "final"], [NOON - S, 10, "final"], [NOON, 3, "open"]], { channel }),
        said(1, [[-1, 9], [0, 20]], { channel }),
        said(3, [[2, 40]], { channel }),
      ]),
    );
  const drawn = (store: SeriesStore, bands = new Map()): Chart => chartOf(by, store, new Ranking(), moment(), bands);

  it("goes on behind its last window", () => {
    const chart = drawn(channels(["a"]));
    expect([chart.times.at(-1), chart.coming]).toEqual([(NOON + 2 * S) / 1000, 2]);
    const [{ slots, ahead, band }] = chart.lines as [Chart["lines"][number]];
    for (const row of [slots.closed, slots.open, ahead!.value, ahead!.upper, band!.lower]) expect(row).toHaveLength(chart.times.length);
    expect(slots.closed.slice(-4)).toEqual([10, null, null, null]);
    expect(slots.open.slice(-4)).toEqual([null, 3, null, null]);
    expect(ahead!.value.slice(-4)).toEqual([10, 20, 30, 40]);
    expect(band!.lower.slice(-5)).toEqual([null, -1, null, null, null]);
  });

  it("shows what a rule expected rather than what was forecast, where both are known", () => {
    const band = new Map([[NOON - S, { lower: 1, upper: 2, anomalous: false }]]);
    const chart = drawn(channels(["a"]), new Map([[JSON.stringify([["channel", "a"]]), band]]));
    expect(chart.lines[0]!.band!.lower.slice(-5)).toEqual([null, 1, null, null, null]);
    expect(chart.lines[0]!.ahead).not.toBeNull();
  });

  it("has no bands of more than two lines, and still says where each goes on", () => {
    const two = drawn(channels(["a", "b"]));
    expect(two.lines.map(({ band, ahead }) => [band === null, ahead!.upper.at(-1)])).toEqual([[false, 50], [false, 50]]);
    const three = drawn(channels(["a", "b", "c"]));
    expect(three.lines.map(({ band, ahead }) => [band, ahead!.value.at(-1), ahead!.upper.at(-1)])).toEqual(
      Array.from({ length: 3 }, () => [null, 40, null]),
    );
  });

  it("ends with its last window where nothing is said of what comes", () => {
    const store = channels(["a"]);
    store.update(new Map([sent("10s", [[NOON + 9 * S, 3, "open"]], { channel: "a" })]), NOON);
    const chart = drawn(store);
    expect([chart.times.at(-1), chart.coming, chart.lines[0]!.ahead]).toEqual([(NOON + 9 * S) / 1000, 0, null]);
  });
});
