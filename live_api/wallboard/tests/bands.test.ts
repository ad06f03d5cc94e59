import { beforeEach, describe, expect, it } from "vitest";
import { Bands } from "../src/bands";
import type { Tile } from "../src/board";
import type { Rule, Score } from "../src/rest";
import { NOON, S, tile } from "./sample";

const RULE: Rule = { name: "low", metric: "edits", window: "10s", key: null };
const line = (over: Partial<Tile> = {}): Tile => tile({ type: "line", ...over });
const score = (start: number, over: Partial<Score> = {}): Score => ({
  start,
  dimensions: {},
  rule: "low",
  lower: 1,
  upper: 9,
  anomalous: false,
  ...over,
});

let now: number;
let rules: Rule[] | Error;
let scores: Score[] | Error;
let tiles: Tile[];
let asked: [string, number, number, Record<string, string>][];
let askedRules: number;
let bands: Bands;

beforeEach(() => {
  now = NOON + 4_000;
  rules = [RULE];
  scores = [];
  tiles = [line()];
  asked = [];
  askedRules = 0;
  bands = new Bands({
    tiles: () => tiles,
    rules: async () => {
      askedRules += 1;
      if (rules instanceof Error) throw rules;
      return rules;
    },
    scores: async (metric, window, from, to, dimensions) => {
      asked.push([`${metric}@${window}`, from, to, { ...dimensions }]);
      if (scores instanceof Error) throw scores;
      return scores.filter(({ start }) => start >= from && start < to);
    },
    now: () => now,
    watermark: () => now,
    random: () => 0.5,
    changed: () => {},
  });
});

/** Looks each quarter of a second, as the wall does. */
async function pass(ms: number): Promise<void> {
  for (const end = now + ms; now < end; now += 250) await bands.look();
}

const of = (id = "[]") => [...(bands.of(tiles[0]!)?.get(id) ?? [])];
const LAST = NOON - S;

describe("what was to be expected", () => {
  it("is asked for where a rule watches what a tile draws, and nowhere else", async () => {
    tiles = [line(), line({ id: "t1" }), line({ fine: "1m" }), line({ key: "p99" }), tile({ type: "number" })];
    await pass(1_000);
    expect(askedRules).toBe(1);
    expect(asked).toEqual([["edits@10s", LAST - 360 * S, LAST + 2 * S, {}]]);
    expect(bands.of(tiles[2]!)).toBeUndefined();
    rules = [];
    bands.forget();
    await pass(1_000);
    expect([askedRules, asked.length]).toEqual([2, 1]);
  });

  it("is asked for again when a window has closed, and then only for what is new", async () => {
    scores = [score(LAST - S), score(LAST)];
    await pass(1_000);
    await pass(5_000);
    expect(asked).toHaveLength(1);
    expect(of().map(([start]) => start)).toEqual([LAST - S, LAST]);
    scores.push(score(NOON, { anomalous: true }));
    await pass(10_000);
    expect(asked.slice(1).map(([, from]) => from)).toEqual([LAST - 3 * S]);
    expect(of().at(-1)).toEqual([NOON, { lower: 1, upper: 9, anomalous: true }]);
  });

  it("waits for a processor that has yet to judge", async () => {
    scores = [score(LAST - S)];
    await pass(6_000);
    expect(asked).toHaveLength(2);
    scores.push(score(LAST));
    await pass(6_000);
    expect(of().map(([start]) => start)).toEqual([LAST - S, LAST]);
  });

  it("is corrected, and forgotten when it is old", async () => {
    scores = [score(LAST, { anomalous: true, upper: 9 })];
    await pass(1_000);
    scores = [score(LAST, { upper: 5 }), score(NOON)];
    await pass(10_000);
    expect(of()).toEqual([
      [LAST, { lower: 1, upper: 5, anomalous: false }],
      [NOON, { lower: 1, upper: 9, anomalous: false }],
    ]);
    now += 2 * 3_600_000;
    scores = [score(now)];
    await pass(20_000);
    expect(of().every(([start]) => start > NOON)).toBe(true);
  });

  it("is of the narrowest of several rules, and out of the ordinary for any of them", async () => {
    const other = { rule: "other", lower: 3, upper: 4 };
    scores = [score(LAST, { anomalous: true }), score(LAST, other), score(LAST, { rule: "limit", lower: null, upper: null })];
    await pass(1_000);
    expect(of()).toEqual([[LAST, { lower: 3, upper: 4, anomalous: true }]]);
  });

  it("knows series whatever the order of their dimensions, and only so many", async () => {
    tiles = [line({ dimensions: { b: "x" } })];
    const many = Array.from({ length: 150 }, (_, index) => score(LAST, { dimensions: { b: "x", a: String(index) } }));
    scores = many;
    await pass(1_000);
    expect(asked[0]![3]).toEqual({ b: "x" });
    expect(bands.of(tiles[0]!)!.size).toBe(100);
    expect(of('[["a","7"],["b","x"]]')).toHaveLength(1);
  });

  it("is asked for more gently when the server does not answer", async () => {
    scores = new Error("503");
    await pass(14_000);
    expect(asked).toHaveLength(1);
    await pass(4_000);
    expect(asked).toHaveLength(2);
    rules = new Error("503");
    bands.forget();
    await pass(20_000);
    expect(askedRules).toBe(2);
    bands.stop();
    await pass(60_000);
    expect(askedRules).toBe(2);
  });

  it("is not kept for tiles that are no longer shown", async () => {
    scores = [score(LAST)];
    await pass(1_000);
    const [before] = tiles;
    tiles = [];
    await pass(1_000);
    expect(bands.of(before!)).toBeUndefined();
  });
});
