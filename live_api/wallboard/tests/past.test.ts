import { describe, expect, it } from "vitest";
import { panelOf } from "../src/panels";
import { chartOfPast, idOf, parsePast, pastQuery, RANGES } from "../src/past";
import { SeriesStore } from "../src/store";
import { NOON, sent, tile } from "./sample";

const MINUTE = 60_000;
const [hour, day] = [RANGES[0]!, RANGES[1]!];
const line = tile({ type: "line", dimensions: { channel: "a" } }, { by: ["channel"], windows: ["10s", "1m", "1d"] });

describe("what is asked of the past", () => {
  it("is a range in windows that show its course", () => {
    const query = pastQuery(line, panelOf(line)!, day, false, 0, NOON);
    expect(query.get("step")).toBe("5m");
    expect(query.get("dimension.channel")).toBe("a");
    expect([Number(query.get("from")), Number(query.get("to"))]).toEqual([NOON - 24 * 60 * MINUTE, NOON]);
    expect(query.get("fill")).toBe("zero");
    expect(query.has("compare")).toBe(false);
  });

  it("leaves windows to the server that cannot be put together, or not into these", () => {
    const quantiles = tile({ type: "line", key: "p99" }, { measure: "quantile", windows: ["10s", "1m"] });
    expect(pastQuery(quantiles, panelOf(quantiles)!, day, false, 0, NOON).has("step")).toBe(false);
    expect(pastQuery(quantiles, panelOf(quantiles)!, day, false, 0, NOON).has("fill")).toBe(false);
    const hours = tile({ type: "line", fine: "1h" }, { windows: ["1h", "1d"] });
    expect(pastQuery(hours, panelOf(hours)!, day, false, 0, NOON).has("step")).toBe(false);
  });

  it("goes back by whole ranges, and compares", () => {
    const query = pastQuery(line, panelOf(line)!, hour, true, 2, NOON);
    expect([Number(query.get("from")), Number(query.get("to"))]).toEqual([NOON - 180 * MINUTE, NOON - 120 * MINUTE]);
    expect(query.get("compare")).toBe("yesterday");
  });
});

describe("the chart of a range", () => {
  const panel = panelOf(line)!;
  const answer = (over: object = {}): unknown => ({
    window: "1m",
    step: "1m",
    starts: [NOON, NOON + MINUTE, NOON + 2 * MINUTE],
    series: [{ dimensions: { channel: "a" }, values: [3, null, 5], open: [2], compared: [1, 2, null] }],
    series_total: 4,
    ...over,
  });

  it("has closed windows as a line, open ones apart, and what is compared dashed", () => {
    const chart = chartOfPast(parsePast(answer()), line, panel, new Map(), null);
    const [one] = chart.lines;
    expect(one!.slots).toEqual({ closed: [3, null, null], open: [null, null, 5] });
    expect(one!.ahead!.value).toEqual([1, 2, null]);
    expect(chart.times).toEqual([0, 60, 120].map((seconds) => NOON / 1000 + seconds));
    expect(chart.hidden).toBe(3);
    expect([one!.label, one!.total]).toEqual(["Edits", "8"]);
  });

  it("goes on with what comes live, of the same windows only", () => {
    const store = new SeriesStore();
    store.update(
      new Map([sent("1m", [[NOON + 2 * MINUTE, 7, "final"], [NOON + 3 * MINUTE, 9, "open"]], { channel: "a" })]),
      NOON,
    );
    const past = parsePast(answer());
    const [one] = chartOfPast(past, line, panel, new Map(), store).lines;
    expect(one!.slots).toEqual({ closed: [3, null, 7, null], open: [null, null, null, 9] });
    const [other] = chartOfPast({ ...past, window: "10s" }, line, panel, new Map(), store).lines;
    expect(other!.slots.closed).toHaveLength(3);
  });

  it("keeps the colours of the tile", () => {
    const two = parsePast(
      answer({ series: ["a", "b"].map((channel) => ({ dimensions: { channel }, values: [1, 1, 1], open: [] })) }),
    );
    const colours = new Map([[idOf({ channel: "b" }), 0]]);
    const chart = chartOfPast(two, line, panel, colours, null);
    expect(chart.lines.map(({ id, colour }) => [id, colour])).toEqual([
      [idOf({ channel: "a" }), 1],
      [idOf({ channel: "b" }), 0],
    ]);
  });

  it("is not made of what is no answer", () => {
    expect(() => parsePast({ points: [] })).toThrow("expected an object with starts and series");
    expect(parsePast(answer({ series: [{ dimensions: {}, values: [1] }] })).series).toEqual([]);
  });
});
