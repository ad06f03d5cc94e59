import { describe, expect, it } from "vitest";
import type { Tile } from "../src/board";
import type { Moment } from "../src/moment";
import { SeriesStore } from "../src/store";
import { chartOf, MAX_LINES, Ranking, seriesLabel } from "../src/tiles/line";
import { DAY, moment, NOON, S, sent, tile } from "./sample";

describe("a chart", () => {
  const by = tile({ type: "line" }, { by: ["channel"] });

  it("has the six largest lines in steady colours, and says how many it leaves out", () => {
    const store = new SeriesStore();
    const ranking = new Ranking();
    const put = (channel: string, value: number) =>
      store.update(new Map([sent("10s", [[NOON, value, "final"]], { channel })]), NOON);
    for (let index = 0; index < 9; index += 1) put(`#${index}`, index);
    const first = chartOf(by, store, ranking, moment());
    expect(first.lines.map((line) => line.label)).toEqual(["#8", "#7", "#6", "#5", "#4", "#3"]);
    expect(first.hidden).toBe(3);
    expect(new Set(first.lines.map((line) => line.colour)).size).toBe(MAX_LINES);
    const colours = new Map(first.lines.map((line) => [line.label, line.colour]));

    put("#0", 100);
    const second = chartOf(by, store, ranking, moment({ now: NOON + 60_000 }));
    expect(second.lines.map((line) => line.label)).toEqual(["#0", "#8", "#7", "#6", "#5", "#4"]);
    for (const line of second.lines.slice(1)) expect(line.colour).toBe(colours.get(line.label));
    expect(second.lines[0]!.colour).toBe(colours.get("#3"));
  });

  it("puts its lines in the order of the number that stands first in the legend", () => {
    const store = new SeriesStore();
    for (const [channel, recent, today] of [["a", 9, 50], ["b", 7, 80]] as const) {
      store.update(
        new Map([sent("10s", [[NOON, recent, "final"]], { channel }), sent("1d", [[DAY, today, "open"]], { channel })]),
        NOON,
      );
    }
    const chart = chartOf(by, store, new Ranking(), moment());
    expect(chart.lines.map((line) => [line.label, line.total])).toEqual([["b", "80"], ["a", "50"]]);
  });

  it("begins where its data does, but is never only a few windows wide", () => {
    const store = new SeriesStore();
    const put = (start: number) => store.update(new Map([sent("10s", [[start, 1, "final"]], { channel: "a" })]), start);
    put(NOON);
    expect(chartOf(by, store, new Ranking(), moment()).times).toHaveLength(24);
    put(NOON - 99 * S);
    const { times, lines } = chartOf(by, store, new Ranking(), moment());
    expect(times).toHaveLength(100);
    expect([times[0], times.at(-1)]).toEqual([(NOON - 99 * S) / 1000, NOON / 1000]);
    expect(lines[0]!.slots.closed).toHaveLength(100);
  });

  it("shows one window in the legend's column", () => {
    const store = new SeriesStore();
    store.update(
      new Map([
        sent("10s", [[NOON - S, 4, "final"], [NOON, 9, "final"]], { channel: "a" }),
        sent("10s", [[NOON - S, 3, "final"]], { channel: "b" }),
      ]),
      NOON,
    );
    const chart = chartOf(by, store, new Ranking(), moment());
    expect(chart.lines.map((line) => [line.label, line.last])).toEqual([["a", "4"], ["b", "3"]]);
  });

  it("names the window of the legend's column where it is not the last, and shows no zeros of a replay", () => {
    const store = new SeriesStore();
    store.update(
      new Map([
        sent("10s", [[NOON - 6 * S, 4, "final"], [NOON, 9, "open"]], { channel: "a" }),
        sent("10s", [[NOON - 8 * S, 3, "final"], [NOON, 9, "open"]], { channel: "b" }),
      ]),
      NOON,
    );
    const at = (over: Partial<Moment>) => {
      const chart = chartOf(by, store, new Ranking(), moment({ watermark: NOON, ...over }));
      return [chart.lastLabel, ...chart.lines.map((line) => line.last)];
    };
    expect(at({})).toEqual(["last full 10\u00a0s", "0", "0"]);
    const old = at({ now: NOON + 5 * 365 * 86_400_000 });
    expect(old).toEqual(["10\u00a0s from 2 Apr 2024, 11:59:00", "4", "0"]);
  });

  it("says what was to be expected of its lines, and what was out of the ordinary", () => {
    const store = new SeriesStore();
    const put = (channel: string) =>
      store.update(
        new Map([sent("10s", [[NOON - 2 * S, 4, "final"], [NOON - S, 9, "final"], [NOON, 1, "open"]], { channel })]),
        NOON,
      );
    put("a");
    put("b");
    const judged = (lower: number | null, anomalous = false) => ({ lower, upper: lower === null ? null : lower + 5, anomalous });
    const id = (channel: string) => JSON.stringify([["channel", channel]]);
    const bands = new Map([
      [id("a"), new Map([[NOON - 2 * S, judged(2)], [NOON - S, judged(3, true)], [NOON, judged(3, true)]])],
      [id("b"), new Map([[NOON - S, judged(null, true)]])],
    ]);
    const chart = chartOf(by, store, new Ranking(), moment(), bands);
    const at = chart.times.indexOf((NOON - S) / 1000);
    const line = (channel: string) => chart.lines.find(({ label }) => label === channel)!;
    // An open window is not judged before it closes.
    expect(line("a").marks).toEqual([at]);
    expect(line("a").band!.lower.slice(at - 1)).toEqual([2, 3, null]);
    expect(line("a").band!.upper.slice(at - 1)).toEqual([7, 8, null]);
    expect([line("b").band, line("b").marks]).toEqual([null, [at]]);

    // More than two bands lie over one another: none is shown, but what was out of the ordinary is.
    for (const channel of ["b", "c"]) {
      put(channel);
      bands.set(id(channel), new Map([[NOON - S, judged(1, true)]]));
    }
    const crowded = chartOf(by, store, new Ranking(), moment(), bands);
    expect(crowded.lines.map(({ band }) => band)).toEqual([null, null, null]);
    expect(crowded.lines.map(({ marks }) => marks.length)).toEqual([1, 1, 1]);
  });

  it("names what stands for many and what has no value", () => {
    expect(seriesLabel({ channel: "__other__" }, ["channel"])).toBe("other");
    expect(seriesLabel({ channel: "__none__" }, ["channel"])).toBe("(none)");
    expect(seriesLabel({ a: "x", b: "__none__" }, ["a", "b"])).toBe("x · (none)");
    expect(seriesLabel({ a: "__other__", b: "__other__" }, ["a", "b"])).toBe("other");
  });

  it("has no more lines than asked for, only of the dimensions asked for, and says how bad the worst is", () => {
    const store = new SeriesStore();
    for (const [channel, value] of [["a", 9], ["b", 5], ["c", 1]] as const) {
      store.update(new Map([sent("10s", [[NOON, value, "final"]], { channel, wiki: "en" })]), NOON);
    }
    const of = (over: Partial<Tile>) =>
      chartOf(tile({ type: "line", ...over }, { by: ["channel", "wiki"] }), store, new Ranking(), moment());
    expect(of({ limit: 2 })).toMatchObject({ hidden: 1, lines: [{ label: "a · en" }, { label: "b · en" }] });
    expect(of({ dimensions: { wiki: "en" }, warning: 5, critical: 8 })).toMatchObject({
      level: "critical",
      lines: [
        { label: "a", level: "critical" },
        { label: "b", level: "warning" },
        { label: "c", level: "ok" },
      ],
    });
    expect(of({ dimensions: { wiki: "de" } })).toMatchObject({ freshness: "waiting", lines: [] });
  });
});
