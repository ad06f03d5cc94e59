import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Tile } from "../src/board";
import { Comparisons } from "../src/comparisons";
import { NOON, tile } from "./sample";

let tiles: Tile[];
let asked: string[];
let current: number | null;
let yesterday: () => Promise<number | null>;
let comparisons: Comparisons;

beforeEach(() => {
  vi.useFakeTimers({ now: NOON });
  tiles = [tile({ compare: "yesterday" }), tile({ id: "t1", compare: "yesterday" }), tile({ id: "t2", compare: "none", key: "x" })];
  asked = [];
  current = 120;
  yesterday = async () => 100;
  comparisons = new Comparisons({
    tiles: () => tiles,
    fetch: (query) => {
      asked.push(query.toString());
      return yesterday();
    },
    current: () => current,
    now: () => Date.now(),
    random: () => 0.5,
    changed: () => {},
  });
});

afterEach(() => {
  comparisons.stop();
  vi.useRealTimers();
});

it("asks once for each number, and again each minute", async () => {
  comparisons.ask();
  await vi.advanceTimersByTimeAsync(10);
  expect(asked).toEqual(["metric=edits&window=1d"]);
  expect(comparisons.of(tiles[0]!)).toEqual({ now: 120, yesterday: 100, at: NOON });
  expect(comparisons.of(tiles[2]!)).toBeUndefined();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toHaveLength(2);
});

it("does not ask again for a board that comes back within seconds", async () => {
  comparisons.ask();
  await vi.advanceTimersByTimeAsync(10_000);
  comparisons.ask();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toHaveLength(1);
});

it("waits for a number to compare, and not for a minute", async () => {
  current = null;
  comparisons.ask();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked).toEqual([]);
  current = 5;
  await vi.advanceTimersByTimeAsync(1_500);
  expect(comparisons.of(tiles[0]!)).toMatchObject({ now: 5 });
});

it("knows nothing where the server does not, or does not answer", async () => {
  yesterday = async () => null;
  comparisons.ask();
  await vi.advanceTimersByTimeAsync(10);
  expect(comparisons.of(tiles[0]!)).toBeUndefined();
  yesterday = () => Promise.reject(new Error("down"));
  await vi.advanceTimersByTimeAsync(300_000);
  expect(comparisons.of(tiles[0]!)).toBeUndefined();
  expect(asked.length).toBeGreaterThan(3);
});

it("ends", async () => {
  comparisons.ask();
  comparisons.stop();
  await vi.advanceTimersByTimeAsync(300_000);
  expect(asked).toEqual([]);
});
