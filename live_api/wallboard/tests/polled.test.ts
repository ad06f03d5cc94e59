import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Tile } from "../src/board";
import { answerIn, type Answer } from "../src/people";
import { pathOf, Polled, polledStanding } from "../src/polled";
import { moment, NOON, tile } from "./sample";

const of = (over: Partial<Tile>): Tile => tile({ metric: null, window: null, fine: null, ...over });
const weekly = of({ type: "retention", analysis: "weekly" });
const monthly = of({ type: "lifecycle", analysis: "lifecycle", period: "month" });
const answer = (over: Record<string, unknown> = {}): Answer => answerIn({ as_of: new Date(NOON).toISOString(), state: "live", ...over });

describe("asking again and again", () => {
  let tiles: Tile[];
  let asked: string[];
  let answers: () => Promise<Answer>;
  let polled: Polled;
  let changes: number;
  let looking: ReturnType<typeof setInterval>;

  beforeEach(() => {
    vi.useFakeTimers({ now: NOON });
    tiles = [weekly, { ...weekly, id: "t1" }, monthly, tile()];
    asked = [];
    changes = 0;
    answers = async () => answer();
    polled = new Polled({
      tiles: () => tiles,
      fetch: (path) => {
        asked.push(path);
        return answers();
      },
      now: () => Date.now(),
      random: () => 0.5,
      changed: () => (changes += 1),
    });
    looking = setInterval(() => polled.look(), 250);
  });

  afterEach(() => {
    clearInterval(looking);
    vi.useRealTimers();
  });

  it("asks once for what several tiles show, and every five seconds", async () => {
    await vi.advanceTimersByTimeAsync(300);
    expect(asked).toEqual(["v1/people/weekly?cohorts=10", "v1/people/lifecycle?period=month&limit=10"]);
    expect(polled.of(tiles[1]!)).toMatchObject({ at: NOON + 250, problem: null, answer: { asOf: NOON } });
    expect(polled.of(tiles[3]!).answer).toBeNull();
    expect(changes).toBe(2);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(asked).toHaveLength(10);
  });

  it("asks nothing while nobody looks, and at once when somebody does", async () => {
    await vi.advanceTimersByTimeAsync(300);
    clearInterval(looking);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked).toHaveLength(2);
    polled.look();
    expect(asked).toHaveLength(4);
  });

  it("keeps what it knew when the server fails, and asks it less and less", async () => {
    tiles = [weekly];
    await vi.advanceTimersByTimeAsync(300);
    const known = polled.of(weekly).answer;
    answers = () => Promise.reject(new Error("down"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(polled.of(weekly)).toEqual({ answer: known, at: NOON + 250, problem: "down" });
    // After 5, 10, 20 and then 40 s.
    expect(asked).toHaveLength(4);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked.length).toBeLessThan(16);
    answers = async () => answer({ as_of: null });
    polled.again();
    await vi.advanceTimersByTimeAsync(300);
    expect(polled.of(weekly)).toMatchObject({ problem: null, answer: { asOf: null } });
    const before = asked.length;
    await vi.advanceTimersByTimeAsync(20_500);
    expect(asked.length - before).toBeGreaterThanOrEqual(4);
  });

  it("forgets what no tile shows any more, also where the answer comes later", async () => {
    let tell: (found: Answer) => void = () => {};
    answers = () => new Promise((resolve) => (tell = resolve));
    tiles = [weekly];
    await vi.advanceTimersByTimeAsync(300);
    tiles = [];
    await vi.advanceTimersByTimeAsync(300);
    tell(answer());
    await vi.advanceTimersByTimeAsync(300);
    expect(polled.of(weekly).answer).toBeNull();
  });

  it("does not ask for everything at once", async () => {
    answers = () => new Promise(() => {});
    tiles = Array.from({ length: 30 }, (_, index) => ({ ...weekly, analysis: `a${index}` }));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(asked).toHaveLength(3);
  });

  it("ends", async () => {
    polled.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toEqual([]);
  });
});

it("asks under a name that needs no trust", () => {
  expect(pathOf({ ...weekly, analysis: "../a b" })).toBe("v1/people/..%2Fa%20b?cohorts=10");
  expect(pathOf(of({ type: "funnel", analysis: "checkout" }))).toBe("v1/people/checkout");
  expect(pathOf(of({ type: "risk", analysis: "churn", limit: 10 }))).toBe("v1/churn?limit=0");
  expect(pathOf(of({ type: "model", analysis: "forecast edits@1m" }))).toBe("v1/models/forecast%20edits%401m");
  expect(pathOf(tile())).toBeNull();
});

describe("how current an answer is", () => {
  const standing = (told: Answer | null, now: number, over = {}) =>
    polledStanding({ answer: told, at: told === null ? null : NOON, problem: null }, moment({ now, ...over }));

  it("is live until three answers are missing", () => {
    expect(standing(answer(), NOON + 14_000)).toEqual({ freshness: "live", ageMs: 14_000, source: "live" });
    expect(standing(answer(), NOON + 16_000)).toMatchObject({ freshness: "stale", ageMs: 16_000 });
  });

  it("is as old as what was counted, and never younger than the answer", () => {
    expect(standing(answer({ as_of: new Date(NOON - 60_000).toISOString() }), NOON)).toMatchObject({ freshness: "stale", ageMs: 60_000 });
    expect(standing(answer({ as_of: new Date(NOON + 3_600_000).toISOString() }), NOON + 20_000)).toMatchObject({ freshness: "stale", ageMs: 20_000 });
  });

  it("is as current as the events where it is as far as the processor, which waits for late ones", () => {
    const behind = answer({ as_of: new Date(NOON - 300_000).toISOString() });
    const told = (watermark: number) => standing(behind, NOON + 2_000, { watermark, lastEvent: NOON });
    expect(told(NOON - 298_000)).toMatchObject({ freshness: "live", ageMs: 2_000 });
    expect(told(NOON - 200_000)).toMatchObject({ freshness: "stale", ageMs: 302_000 });
    expect(standing(behind, NOON + 60_000, { watermark: NOON - 300_000, lastEvent: NOON })).toMatchObject({ freshness: "stale", ageMs: 60_000 });
  });

  it("is current until the next is due, where something is said once a day", () => {
    const iso = (time: number) => new Date(time).toISOString();
    const daily = answer({ as_of: undefined, at: iso(NOON - 20 * 3_600_000), due: iso(NOON + 4 * 3_600_000) });
    const told = (watermark: number) => standing(daily, NOON + 2_000, { watermark, lastEvent: NOON });
    expect(told(NOON - 300_000)).toMatchObject({ freshness: "live", ageMs: 2_000 });
    expect(told(NOON + 5 * 3_600_000)).toMatchObject({ freshness: "stale", ageMs: 20 * 3_600_000 + 2_000 });
  });

  it("waits before there is anything", () => {
    expect(standing(null, NOON)).toMatchObject({ freshness: "waiting", ageMs: null });
    expect(standing(answer({ as_of: null }), NOON)).toMatchObject({ freshness: "waiting" });
  });

  it("says what is away, by the answer or by the line", () => {
    expect(standing(answer({ state: "valkey_down" }), NOON)).toMatchObject({ freshness: "source_down", source: "valkey_down" });
    expect(standing(answer({ state: "on fire" }), NOON)).toMatchObject({ freshness: "source_down", source: "processor_silent" });
    expect(standing(answer({ state: "processor_silent" }), NOON, { line: "source_down", source: "valkey_down" })).toMatchObject({
      freshness: "source_down",
      source: "valkey_down",
    });
    expect(standing(answer({ state: "valkey_down" }), NOON, { line: "lost" })).toMatchObject({ freshness: "lost" });
    expect(standing(answer(), NOON, { behindMs: 60_000 })).toMatchObject({ freshness: "late" });
  });
});
