import { describe, expect, it } from "vitest";
import { chartOf, MAX_LINES, Ranking, seriesLabel } from "../src/chart";
import { Zone } from "../src/format";
import { boardOf, capacitiesOf } from "../src/panels";
import { parseCatalog, parseHistory, parseMessage, type Metric, type SentPoint, type SentSeries } from "../src/protocol";
import { lastStart, slotsOf } from "../src/slots";
import { SeriesStore } from "../src/store";
import { periodText, tileOf, type LineState, type Moment } from "../src/tile";

const DAY = Date.UTC(2024, 3, 2);
const NOON = DAY + 12 * 3_600_000;
const S = 10_000;

function metric(over: Partial<Metric> = {}): Metric {
  return {
    name: "edits",
    title: "Edits",
    measure: "count",
    by: [],
    windows: ["10s", "1m", "1h", "1d"],
    unit: null,
    description: null,
    target: null,
    ...over,
  };
}

function moment(over: Partial<Moment> = {}): Moment {
  return { now: NOON + 4_000, watermark: null, line: "live" as LineState, zone: new Zone("UTC"), ...over };
}

function sent(window: string, points: [number, number, SentPoint["state"]][], dimensions = {}, name = "edits"): [string, SentSeries] {
  return [
    `${name}@${window}${JSON.stringify(dimensions)}`,
    {
      metric: name,
      window,
      dimensions,
      points: points.map(([start, value, state]) => ({ start, value, count: value, state, revision: 1 })),
    },
  ];
}

const panelOf = (one: Metric) => {
  const board = boardOf([one]);
  return (board.tiles[0] ?? board.charts[0])!;
};

describe("the board", () => {
  it("has a tile for each metric without dimensions and a chart for the others, in the catalog's order", () => {
    const board = boardOf([
      metric({ name: "b", by: ["channel"] }),
      metric({ name: "a" }),
      metric({ name: "streamgauge_events" }),
      metric({ name: "q", measure: "quantile" }),
      metric({ name: "c" }),
    ]);
    expect(board.tiles.map((panel) => panel.metric.name)).toEqual(["a", "c"]);
    expect(board.charts.map((panel) => panel.metric.name)).toEqual(["b"]);
  });

  it("shows totals over the longest window and levels over the shortest that does not jump", () => {
    expect(panelOf(metric())).toMatchObject({ fine: "10s", main: "1d" });
    expect(panelOf(metric({ windows: ["1h", "1m"] }))).toMatchObject({ fine: "1m", main: "1h" });
    expect(panelOf(metric({ measure: "mean" }))).toMatchObject({ fine: "10s", main: "1m" });
    expect(panelOf(metric({ measure: "max", windows: ["1h", "1d"] }))).toMatchObject({ fine: "1h", main: "1h" });
    expect(panelOf(metric({ measure: "mean", windows: ["1s", "10s"] }))).toMatchObject({ fine: "1s", main: "10s" });
  });

  it("keeps the windows it shows and no others", () => {
    const capacity = capacitiesOf(boardOf([metric()]));
    expect([capacity("edits", "1m"), capacity("edits", "1h"), capacity("other", "10s")]).toEqual([0, 0, 0]);
    expect(capacity("edits", "10s")).toBeGreaterThan(40);
    expect(capacity("edits", "1d")).toBeGreaterThan(0);
  });
});

describe("a tile", () => {
  it("waits for the first event, and does not say 0", () => {
    const tile = tileOf(panelOf(metric()), new SeriesStore(), moment());
    expect(tile).toMatchObject({ state: "waiting", value: null, ageMs: null, note: "waiting for the first event" });
  });

  it("shows the day so far, the last full window and the open one", () => {
    const store = new SeriesStore();
    store.update(
      new Map([
        sent("1d", [[DAY, 48_213, "open"]]),
        sent("10s", [
          [NOON - 2 * S, 120, "final"],
          [NOON - S, 132, "corrected"],
          [NOON, 57, "open"],
        ]),
      ]),
      NOON + 3_000,
    );
    const tile = tileOf(panelOf(metric()), store, moment());
    expect(tile).toMatchObject({ state: "live", value: "48,213", period: "today so far", ageMs: 1_000, note: null });
    expect(tile.closed).toEqual({ label: "last full 10\u00a0s", value: "132" });
    expect(tile.running).toEqual({ label: "these 10\u00a0s so far", value: "57" });
  });

  it("says zero of a recent window that the watermark has passed, and else the latest with a value and its time", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("10s", [[NOON - 6 * S, 3, "final"], [NOON, 1, "open"]])]), NOON);
    const at = (over: Partial<Moment>) => tileOf(panelOf(metric()), store, moment(over)).closed;
    expect(at({ watermark: NOON })).toEqual({ label: "last full 10\u00a0s", value: "0" });
    const ofValue = { label: "10\u00a0s from 11:59:00", value: "3" };
    expect(at({ watermark: null })).toEqual(ofValue);
    expect(at({ watermark: NOON - 1 })!.value).toBe("0");
    expect(at({ watermark: NOON - 2 * S - 1 })).toEqual(ofValue);
    expect(at({ watermark: NOON - 1, now: NOON + 5 * 365 * 86_400_000 })).toEqual({
      label: "10\u00a0s from 2 Apr 2024, 11:59:00",
      value: "3",
    });
    expect(at({ watermark: NOON, now: NOON + 5 * 365 * 86_400_000 })!.value).toBe("3");
  });

  it("is stale past three of its small windows, in words", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 5, "open"]]), sent("10s", [[NOON, 5, "open"]])]), NOON);
    const at = (now: number) => tileOf(panelOf(metric()), store, moment({ now }));
    expect(at(NOON + 30_000).state).toBe("live");
    expect(at(NOON + 42_000)).toMatchObject({ state: "stale", note: "no data for 42 s", value: "5" });
  });

  it("takes a count of nothing for current while other events come in, but not an average", () => {
    const store = new SeriesStore();
    const windows = [sent("1d", [[DAY, 5, "open"]]), sent("1m", [[NOON, 5, "open"]]), sent("10s", [[NOON, 5, "open"]])];
    store.update(new Map(windows), NOON);
    const at = (lastEvent: number | null, measure = "count") =>
      tileOf(panelOf(metric({ measure })), store, moment({ now: NOON + 42_000, lastEvent })).state;
    expect(at(NOON + 41_000)).toBe("live");
    expect(at(NOON + 2_000)).toBe("stale");
    expect(at(null)).toBe("stale");
    expect(at(NOON + 41_000, "mean")).toBe("stale");
  });

  it("does not take a day's number for fresh only because the day is not over", () => {
    const store = new SeriesStore();
    store.snapshot(new Map([sent("1d", [[DAY, 5, "open"]]), sent("10s", [[NOON - 600_000, 5, "final"]])]), NOON);
    expect(tileOf(panelOf(metric()), store, moment({ now: NOON }))).toMatchObject({ state: "stale", ageMs: 590_000 });
  });

  it("says what stands between it and the world before it says how old it is", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 5, "open"]])]), NOON);
    for (const line of ["lost", "source_down"] as const) {
      expect(tileOf(panelOf(metric()), store, moment({ line, now: NOON + 900_000 })).state).toBe(line);
    }
    expect(tileOf(panelOf(metric()), store, moment({ line: "connecting" })).state).toBe("waiting");
  });

  it("starts again at zero when the processor is past the end of the window and has found nothing", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 3, "final"]]), sent("10s", [[NOON, 3, "final"]])]), NOON);
    const now = DAY + 86_400_000 + 60_000;
    const at = (watermark: number | null, measure = "count") => tileOf(panelOf(metric({ measure })), store, moment({ now, watermark }));
    expect(at(now - 5_000)).toMatchObject({ value: "0", period: "today so far", state: "stale" });
    expect(at(now - 65_000)).toMatchObject({ value: "3", period: "2 Apr 2024" });
    expect(at(null)).toMatchObject({ value: "3", period: "2 Apr 2024" });
    expect(at(now - 5_000, "distinct")).toMatchObject({ value: "3" });
  });

  it("names the window where it is not the present one", () => {
    const late = moment({ now: DAY + 86_400_000 + 60_000 });
    expect(periodText(DAY, 86_400_000, "1d", true, late)).toBe("2 Apr 2024, so far");
    expect(periodText(DAY, 86_400_000, "1d", false, late)).toBe("2 Apr 2024");
    expect(periodText(DAY, 86_400_000, "1d", true, moment({ zone: new Zone("Asia/Tokyo") }))).toBe("UTC day so far");
    expect(periodText(NOON - 3_600_000, 3_600_000, "1h", false, moment())).toBe("1\u00a0h from 11:00");
  });

  it("sets a target against the number only where it is clear which number is meant", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1m", [[NOON, 30, "open"]]), sent("1d", [[DAY, 30, "open"]])]), NOON);
    const towards = (over: Partial<Metric>) => tileOf(panelOf(metric({ target: 40, ...over })), store, moment()).towardsTarget;
    expect(towards({ windows: ["1m"] })).toBe(0.75);
    expect(towards({ windows: ["1m", "1d"] })).toBeNull();
    expect(towards({ windows: ["1m", "1d"], measure: "mean" })).toBe(0.75);
  });
});

describe("a row of windows", () => {
  const series = (points: [number, number, SentPoint["state"]][]) => {
    const store = new SeriesStore();
    store.update(new Map([sent("10s", points)]), 0);
    return store.group("edits", "10s")!.series.values().next().value!;
  };

  it("has zeros between known windows of a count, and nothing before the first", () => {
    const one = series([
      [2 * S, 5, "final"],
      [5 * S, 7, "final"],
      [6 * S, 1, "open"],
    ]);
    expect(slotsOf(one, 7 * S, 8, S, { zeroWhenEmpty: true, completeUpTo: null })).toEqual({
      closed: [null, null, 5, 0, 0, 7, null, null],
      open: [null, null, null, null, null, null, 1, null],
    });
  });

  it("has unknown windows where nothing says that empty means zero", () => {
    const one = series([
      [0, 5, "final"],
      [2 * S, 7, "final"],
    ]);
    expect(slotsOf(one, 2 * S, 3, S, { zeroWhenEmpty: false, completeUpTo: 9 * S }).closed).toEqual([5, null, 7]);
  });

  it("goes on with zeros as far as the processor says it is complete", () => {
    const one = series([[0, 5, "final"]]);
    const completeUpTo = 3.5 * S;
    expect(lastStart([one], S, completeUpTo)).toBe(2 * S);
    expect(slotsOf(one, 2 * S, 3, S, { zeroWhenEmpty: true, completeUpTo }).closed).toEqual([5, 0, 0]);
  });
});

describe("a chart", () => {
  const by = metric({ by: ["channel"] });

  it("has the six largest lines in steady colours, and says how many it leaves out", () => {
    const store = new SeriesStore();
    const ranking = new Ranking();
    const put = (channel: string, value: number) =>
      store.update(new Map([sent("10s", [[NOON, value, "final"]], { channel })]), NOON);
    for (let index = 0; index < 9; index += 1) put(`#${index}`, index);
    const first = chartOf(panelOf(by), store, ranking, moment());
    expect(first.lines.map((line) => line.label)).toEqual(["#8", "#7", "#6", "#5", "#4", "#3"]);
    expect(first.hidden).toBe(3);
    expect(new Set(first.lines.map((line) => line.colour)).size).toBe(MAX_LINES);
    const colours = new Map(first.lines.map((line) => [line.label, line.colour]));

    put("#0", 100);
    const second = chartOf(panelOf(by), store, ranking, moment({ now: NOON + 60_000 }));
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
    const chart = chartOf(panelOf(by), store, new Ranking(), moment());
    expect(chart.lines.map((line) => [line.label, line.total])).toEqual([["b", "80"], ["a", "50"]]);
  });

  it("begins where its data does, but is never only a few windows wide", () => {
    const store = new SeriesStore();
    const put = (start: number) => store.update(new Map([sent("10s", [[start, 1, "final"]], { channel: "a" })]), start);
    put(NOON);
    expect(chartOf(panelOf(by), store, new Ranking(), moment()).times).toHaveLength(24);
    put(NOON - 99 * S);
    const { times, lines } = chartOf(panelOf(by), store, new Ranking(), moment());
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
    const chart = chartOf(panelOf(by), store, new Ranking(), moment());
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
      const chart = chartOf(panelOf(by), store, new Ranking(), moment({ watermark: NOON, ...over }));
      return [chart.lastLabel, ...chart.lines.map((line) => line.last)];
    };
    expect(at({})).toEqual(["last full 10\u00a0s", "0", "0"]);
    const old = at({ now: NOON + 5 * 365 * 86_400_000 });
    expect(old).toEqual(["10\u00a0s from 2 Apr 2024, 11:59:00", "4", "0"]);
  });

  it("names what stands for many and what has no value", () => {
    expect(seriesLabel({ channel: "__other__" }, ["channel"])).toBe("other");
    expect(seriesLabel({ channel: "__none__" }, ["channel"])).toBe("(none)");
    expect(seriesLabel({ a: "x", b: "__none__" }, ["a", "b"])).toBe("x · (none)");
    expect(seriesLabel({ a: "__other__", b: "__other__" }, ["a", "b"])).toBe("other");
  });
});

describe("what the server says", () => {
  it("is read where it is understood and left where it is not", () => {
    const message = parseMessage(
      JSON.stringify({
        op: "update",
        seq: 2,
        t: 5,
        series: {
          one: { metric: "m", window: "10s", dimensions: {}, points: [[0, 1, 1, "open", 1], [1, null, 0, "final", 2]] },
          sketch: { metric: "q", window: "10s", dimensions: {}, points: [[0, { p50: 3 }, 1, "open", 1]] },
          broken: { metric: "x" },
        },
        system: { state: "processor_silent", watermark_ms: null, streams: { s: { lag_ms: 2 } }, rejects: { malformed: 3 } },
        news: true,
      }),
    );
    if (message?.op !== "update") throw new Error("expected an update");
    expect(message.series.get("one")!.points.map((one) => one.value)).toEqual([1, null]);
    expect(message.series.get("sketch")!.points).toEqual([]);
    expect(message.series.has("broken")).toBe(false);
    expect(message.system).toMatchObject({ state: "processor_silent", rejects: { malformed: 3 }, rejectedTotal: null });
    expect(message.system!.streams.s).toEqual({ lag: null, lagMs: 2, caughtUp: false, maxEventMs: null });
    expect(parseMessage('{"op":"update","t":1}')).toMatchObject({ system: null });
  });

  it("about the catalog and the past", () => {
    expect(parseCatalog({ metrics: [{ name: "a" }, 7] })).toMatchObject({ platform: "streamgauge", timezone: "UTC", rejectedTotal: null });
    expect(() => parseCatalog([])).toThrow("/v1/metrics");
    const { points } = parseHistory({
      points: [{ start: "2015-09-12T00:00:00Z", dimensions: { a: 1 }, value: 2, count: 2, state: "final", revision: 3 }],
    });
    expect(points).toEqual([
      { dimensions: { a: "1" }, point: { start: Date.UTC(2015, 8, 12), value: 2, count: 2, state: "final", revision: 3 } },
    ]);
  });
});
