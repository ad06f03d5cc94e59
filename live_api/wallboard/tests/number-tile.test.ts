import { describe, expect, it } from "vitest";
import { Zone } from "../src/format";
import { periodText } from "../src/periods";
import { SeriesStore } from "../src/store";
import { numberOf } from "../src/tiles/number";
import type { Moment } from "../src/moment";
import { DAY, moment, NOON, S, sent, tile } from "./sample";

describe("a number", () => {
  it("waits for the first event, and does not say 0", () => {
    const view = numberOf(tile(), new SeriesStore(), moment());
    expect(view).toMatchObject({ freshness: "waiting", value: null, ageMs: null, spark: null, level: "none" });
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
    const view = numberOf(tile(), store, moment());
    expect(view).toMatchObject({ freshness: "live", value: "48,213", period: "today so far", ageMs: 1_000 });
    expect(view.closed).toEqual({ label: "last full 10\u00a0s", value: "132" });
    expect(view.running).toEqual({ label: "these 10\u00a0s so far", value: "57" });
  });

  it("says zero of a recent window that the watermark has passed, and else the latest with a value and its time", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("10s", [[NOON - 6 * S, 3, "final"], [NOON, 1, "open"]])]), NOON);
    const at = (over: Partial<Moment>) => numberOf(tile(), store, moment(over)).closed;
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

  it("is stale past three of its small windows", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 5, "open"]]), sent("10s", [[NOON, 5, "open"]])]), NOON);
    const at = (now: number) => numberOf(tile(), store, moment({ now }));
    expect(at(NOON + 30_000).freshness).toBe("live");
    expect(at(NOON + 42_000)).toMatchObject({ freshness: "stale", ageMs: 42_000, value: "5" });
  });

  it("takes a count of nothing for current while other events come in, but not an average", () => {
    const store = new SeriesStore();
    const windows = [sent("1d", [[DAY, 5, "open"]]), sent("1m", [[NOON, 5, "open"]]), sent("10s", [[NOON, 5, "open"]])];
    store.update(new Map(windows), NOON);
    const at = (lastEvent: number | null, measure = "count") =>
      numberOf(tile({}, { measure }), store, moment({ now: NOON + 42_000, lastEvent })).freshness;
    expect(at(NOON + 41_000)).toBe("live");
    expect(at(NOON + 2_000)).toBe("stale");
    expect(at(null)).toBe("stale");
    expect(at(NOON + 41_000, "mean")).toBe("stale");
  });

  it("shows the latest of windows that have no width, such as a day of the calendar", () => {
    const store = new SeriesStore();
    const people = (over = {}) => tile({ window: "day", fine: "day", ...over }, { windows: ["day"] });
    store.update(new Map([sent("day", [[DAY - 86_400_000, 31, "final"], [DAY, 42, "open"]])]), NOON + 3_000);
    expect(numberOf(people(), store, moment())).toMatchObject({ value: "42", period: "today so far", freshness: "live", spark: null });
    expect(numberOf(people({ compare: "target", target: 84 }), store, moment()).towardsTarget).toBe(0.5);
    expect(numberOf(people({ window: "week", fine: "week" }), store, moment()).value).toBeNull();
  });

  it("does not take a day's number for fresh only because the day is not over", () => {
    const store = new SeriesStore();
    store.snapshot(new Map([sent("1d", [[DAY, 5, "open"]]), sent("10s", [[NOON - 600_000, 5, "final"]])]), NOON);
    expect(numberOf(tile(), store, moment({ now: NOON }))).toMatchObject({ freshness: "stale", ageMs: 590_000 });
  });

  it("says what stands between it and the world before it says how old it is", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 5, "open"]])]), NOON);
    for (const line of ["lost", "source_down"] as const) {
      expect(numberOf(tile(), store, moment({ line, now: NOON + 900_000 })).freshness).toBe(line);
    }
    expect(numberOf(tile(), store, moment({ line: "connecting" })).freshness).toBe("waiting");
  });

  it("starts again at zero when the processor is past the end of the window and has found nothing", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 3, "final"]]), sent("10s", [[NOON, 3, "final"]])]), NOON);
    const now = DAY + 86_400_000 + 60_000;
    const at = (watermark: number | null, measure = "count") => numberOf(tile({}, { measure }), store, moment({ now, watermark }));
    expect(at(now - 5_000)).toMatchObject({ value: "0", period: "today so far", freshness: "stale" });
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

  it("is no younger than the latest event of any kind, when it was there before this page looked", () => {
    const store = new SeriesStore();
    store.snapshot(new Map([sent("1d", [[DAY, 5, "open"]]), sent("1m", [[NOON, 5, "open"]])]), NOON + 50_000);
    const at = (lastEvent: number | null) => numberOf(tile({ fine: "1m" }), store, moment({ now: NOON + 50_000, lastEvent })).ageMs;
    expect(at(null)).toBe(0);
    expect(at(NOON + 8_000)).toBe(42_000);
  });

  it("adds up the series of a count, and has no number for several averages", () => {
    const store = new SeriesStore();
    for (const [channel, value] of [["a", 3], ["b", 4]] as const) {
      store.update(new Map([sent("1d", [[DAY, value, "open"]], { channel }), sent("10s", [[NOON, value, "final"]], { channel })]), NOON);
    }
    const by = { by: ["channel"] };
    expect(numberOf(tile({}, by), store, moment())).toMatchObject({ value: "7", closed: { value: "7" } });
    expect(numberOf(tile({ dimensions: { channel: "b" } }, by), store, moment())).toMatchObject({ value: "4" });
    expect(numberOf(tile({}, { ...by, measure: "mean" }), store, moment())).toMatchObject({ value: null, spark: null });
    expect(numberOf(tile({ dimensions: { channel: "x" } }, by), store, moment()).value).toBeNull();
  });

  it("shows one of several values a point has, and says which", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, { "0.5": 12, "0.99": 340 }, "open"]])]), NOON);
    expect(numberOf(tile({ key: "0.99" }, { measure: "quantile" }), store, moment())).toMatchObject({ value: "340", period: "p99, today" });
    expect(numberOf(tile({}, { measure: "quantile" }), store, moment()).value).toBeNull();
  });

  it("sets its target and its thresholds against the number", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 30, "open"]])]), NOON);
    const view = numberOf(tile({ compare: "target", target: 40, warning: 20, critical: 50 }), store, moment());
    expect(view).toMatchObject({ towardsTarget: 0.75, level: "warning", delta: { direction: "down", amount: "\u221225%" } });
    expect(numberOf(tile({ target: 40 }), store, moment()).towardsTarget).toBeNull();
  });

  it("is set against yesterday as of the moment of the question", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 130, "open"]])]), NOON);
    const compared = { now: 120, yesterday: 100, at: NOON };
    expect(numberOf(tile({ compare: "yesterday" }), store, moment(), compared).delta).toMatchObject({ direction: "up", amount: "+20%" });
    expect(numberOf(tile({ compare: "yesterday" }), store, moment()).delta).toBeNull();
  });
});
