import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Backfill } from "../src/backfill";
import type { History, SentPoint } from "../src/protocol";
import { SeriesStore } from "../src/store";
import { DAY, NOON, S, sent, tile } from "./sample";

const tiles = [tile(), tile({ id: "t1", type: "line" })];
let store: SeriesStore;
let asked: [metric: string, window: string, from: number, to: number][];
let answer: (window: string) => Promise<History>;
let backfill: Backfill;

const points = (...all: [start: number, value: number, revision?: number, state?: SentPoint["state"]][]): History => ({
  truncated: false,
  points: all.map(([start, value, revision = 1, state = "final"]) => ({
    dimensions: {},
    point: { start, value, count: 1, state, revision },
  })),
});
const drawn = () => store.group("edits", "10s")?.series.values().next().value?.points.map(({ start, value }) => [(start - NOON) / S, value]);

beforeEach(() => {
  vi.useFakeTimers();
  store = new SeriesStore();
  asked = [];
  answer = async () => points();
  backfill = new Backfill(store, {
    tiles: () => tiles,
    fetch: (metric, window, from, to) => {
      asked.push([metric, window, from, to]);
      return answer(window);
    },
    now: () => NOON,
    latest: () => NOON,
    filled: () => {},
  });
});

afterEach(() => {
  backfill.stop();
  vi.useRealTimers();
});

describe("history", () => {
  it("is the last hour of each window, asked for once however many tiles it stands on", async () => {
    store.snapshot(new Map([sent("1d", [[DAY, 9, "open"]]), sent("10s", [[NOON, 9, "open"]])]), NOON);
    backfill.ask();
    await vi.advanceTimersByTimeAsync(200);
    expect(asked).toEqual([
      ["edits", "10s", NOON - 359 * S, NOON + 2 * S],
      ["edits", "1d", DAY - 86_400_000, DAY + 2 * 86_400_000],
    ]);
  });

  it("is asked for of what is forecast too", async () => {
    tiles.push(tile({ id: "t2", type: "line", forecast: "edits_forecast" }));
    backfill.ask();
    await vi.advanceTimersByTimeAsync(200);
    expect(asked.map(([metric, window]) => [metric, window])).toContainEqual(["edits_forecast", "10s"]);
    tiles.pop();
  });

  it("meets what came live without a seam: each window once, and the newer revision of it", async () => {
    answer = async (window) => (window === "10s" ? points([NOON - 2 * S, 1], [NOON - S, 2], [NOON, 3, 2, "open"]) : points());
    store.snapshot(new Map([sent("10s", [[NOON - S, 20, "final"], [NOON, 30, "open"]])]), NOON);
    backfill.ask();
    await vi.advanceTimersByTimeAsync(200);
    store.update(new Map([sent("10s", [[NOON + S, 40, "open"]])]), NOON + S);
    expect(drawn()).toEqual([[-2, 1], [-1, 20], [0, 3], [1, 40]]);
  });

  it("is asked for again when it fails, and only what the server vouches for is kept if it is another one", async () => {
    store.snapshot(new Map([sent("10s", [[NOON - S, 2, "final"]])]), NOON);
    answer = () => Promise.reject(new Error("down"));
    backfill.ask();
    await vi.advanceTimersByTimeAsync(200);
    expect(drawn()).toEqual([[-1, 2]]);
    store.snapshot(new Map([sent("10s", [[NOON, 3, "open"]])]), NOON);
    backfill.serverIsAnother = true;
    await vi.advanceTimersByTimeAsync(10_200);
    expect(drawn()).toEqual([[0, 3]]);
    answer = async () => points([NOON - S, 5]);
    await vi.advanceTimersByTimeAsync(10_200);
    expect(drawn()).toEqual([[-1, 5], [0, 3]]);
    const before = asked.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveLength(before);
  });

  it("from before a snapshot is not merged into what came with it", async () => {
    let let_go: (history: History) => void = () => {};
    answer = () => new Promise((resolve) => (let_go = resolve));
    store.snapshot(new Map([sent("10s", [[NOON, 3, "open"]])]), NOON);
    backfill.ask();
    await vi.advanceTimersByTimeAsync(200);
    store.snapshot(new Map([sent("10s", [[NOON, 1, "open"]])]), NOON);
    let_go(points([NOON - S, 99]));
    await vi.advanceTimersByTimeAsync(0);
    expect(drawn()).toEqual([[0, 1]]);
  });
});
