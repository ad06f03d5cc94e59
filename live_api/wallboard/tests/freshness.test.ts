import { describe, expect, it } from "vitest";
import { freshnessOf, freshnessText, type Freshness } from "../src/freshness";
import type { Moment } from "../src/moment";
import { moment } from "./sample";

const of = (ageMs: number | null, over: Partial<Moment> = {}, countsEvents = false): Freshness =>
  freshnessOf({ ageMs, expectedMs: 10_000, countsEvents }, moment(over));

describe("how current a tile is", () => {
  it("turns stale past three times the interval, and never within seconds", () => {
    expect([of(0), of(30_000), of(30_001)]).toEqual(["live", "live", "stale"]);
    const quick = (ageMs: number) => freshnessOf({ ageMs, expectedMs: 1_000, countsEvents: false }, moment());
    expect([quick(5_000), quick(5_001)]).toEqual(["live", "stale"]);
  });

  it("says what is nearest to the reader first: the line, then the source, then the backlog, then the age", () => {
    const all: Partial<Moment> = { behindMs: 60_000 };
    expect(of(99_000, { ...all, line: "lost" })).toBe("lost");
    expect(of(99_000, { ...all, line: "source_down" })).toBe("source_down");
    expect(of(99_000, { ...all, line: "connecting" })).toBe("waiting");
    expect(of(99_000, all)).toBe("late");
    expect(of(99_000, { behindMs: 4_999 })).toBe("stale");
    expect(of(null, all)).toBe("waiting");
  });

  it("does not take a count of nothing for stale while other events come in", () => {
    const now = moment().now;
    expect(of(90_000, { lastEvent: now - 1_000 }, true)).toBe("live");
    expect(of(90_000, { lastEvent: now - 1_000 }, false)).toBe("stale");
    expect(of(90_000, { lastEvent: now - 40_000 }, true)).toBe("stale");
  });

  it("is said in words, each state in its own", () => {
    const text = (freshness: Freshness, over: Partial<Moment> = {}) => freshnessText(freshness, 42_000, moment(over));
    expect(text("live")).toBeNull();
    expect(text("stale")).toBe("no data for 42 s");
    expect(text("waiting")).toBe("no data yet");
    expect(text("waiting", { line: "connecting" })).toBe("connecting");
    expect(text("late", { behindMs: 185_000 })).toBe("late, 3 min behind");
    expect(text("source_down", { source: "processor_silent" })).toBe("processor silent");
    expect(text("source_down", { source: "valkey_down" })).toBe("Valkey away");
    expect(text("lost", { lostForMs: 7_000 })).toBe("line lost for 7 s");
  });
});
