import { describe, expect, it } from "vitest";
import type { History, SentPoint, SentSeries } from "../src/protocol";
import { FORGET_MS, MAX_SERIES, SeriesStore } from "../src/store";

const S = 10_000;
const KEY = "edits@10s{channel=#en}";

function point(start: number, value: number | null, revision = 1, state: SentPoint["state"] = "final"): SentPoint {
  return { start, value, count: value ?? 0, state, revision };
}

function sent(points: SentPoint[], channel = "#en", key = KEY): Map<string, SentSeries> {
  return new Map([[key, { metric: "edits", window: "10s", dimensions: { channel }, points }]]);
}

function history(points: SentPoint[], truncated = false, channel = "#en"): History {
  return {
    truncated,
    points: points.map((one) => ({ dimensions: { channel }, point: { ...one, value: one.value ?? 0 } })),
  };
}

function values(store: SeriesStore): [number, unknown][] {
  const series = store.group("edits", "10s")?.series.values().next().value;
  return series?.points.map((one) => [one.start / S, one.value]) ?? [];
}

describe("points", () => {
  it("replace the one of the same window", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(0, 5), point(S, 2, 1, "open")]), 2 * S);
    store.update(sent([point(S, 3, 2, "open")]), 2 * S);
    store.update(sent([point(0, 6, 2, "corrected"), point(S, 4, 3)]), 2 * S);
    expect(values(store)).toEqual([
      [0, 6],
      [1, 4],
    ]);
  });

  it("of windows that are yet to come do not tell how far things have come", () => {
    const store = new SeriesStore();
    store.update(sent([point(S, 5), point(2 * S, 5), point(9 * S, 5)]), 2 * S);
    expect([store.latestStart(3 * S), store.latestStart(9 * S), store.latestStart(0)]).toEqual([2 * S, 9 * S, null]);
  });

  it("go when the server says that the window has no value", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(0, 5), point(S, 2)]), 2 * S);
    store.update(sent([point(S, null), point(7 * S, null)]), 2 * S);
    expect(values(store)).toEqual([[0, 5]]);
  });

  it("stand in order of their start, however they come", () => {
    const store = new SeriesStore();
    store.update(sent([point(3 * S, 3), point(0, 0), point(2 * S, 2), point(S, 1)]), 0);
    expect(values(store).map(([start]) => start)).toEqual([0, 1, 2, 3]);
  });

  it("are kept up to the capacity, the latest of them", () => {
    const store = new SeriesStore();
    store.setCapacities(() => 5);
    for (let index = 0; index < 1000; index += 1) store.update(sent([point(index * S, index)]), index * S);
    store.update(sent([point(3 * S, 99)]), 0); // a correction of what is not kept any more
    expect(values(store).map(([start]) => start)).toEqual([995, 996, 997, 998, 999]);
    store.update(sent([point(996.5 * S, 1)]), 0);
    expect(values(store).map(([start]) => start)).toEqual([996, 996.5, 997, 998, 999]);
  });

  it("of windows that no panel shows are not kept", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(0, 5)]), S);
    store.setCapacities((_, window) => (window === "1d" ? 3 : 0));
    expect(store.group("edits", "10s")).toBeUndefined();
    store.update(sent([point(0, 5)]), S);
    expect(store.group("edits", "10s")).toBeUndefined();
  });
});

describe("series", () => {
  it("are at most so many, and the one not heard of for longest goes", () => {
    const store = new SeriesStore();
    for (let index = 0; index < MAX_SERIES + 50; index += 1) {
      store.update(sent([point(0, 1)], `#${index}`, `key ${index}`), index);
      store.update(sent([point(0, index)], "#0", "key 0"), index);
    }
    const channels = [...store.group("edits", "10s")!.series.values()].map((one) => one.dimensions.channel);
    expect(channels).toHaveLength(MAX_SERIES);
    expect(channels).toContain("#0");
    expect(channels).not.toContain("#1");
  });

  it("are dropped when nothing was heard of them for long, and start anew after that", () => {
    const store = new SeriesStore();
    store.update(sent([point(0, 1)]), 0);
    store.forgetOld(FORGET_MS);
    expect(values(store)).toHaveLength(1);
    store.forgetOld(FORGET_MS + 21 * S);
    expect(store.group("edits", "10s")).toBeUndefined();
    store.update(sent([point(S, 2)]), FORGET_MS * 2);
    expect(values(store)).toEqual([[1, 2]]);
  });

  it("are the same for the same dimensions, whatever the key and the order", () => {
    const store = new SeriesStore();
    const two = (dimensions: Record<string, string>, key: string): Map<string, SentSeries> =>
      new Map([[key, { metric: "edits", window: "10s", dimensions, points: [point(0, 1)] }]]);
    store.update(two({ a: "1", b: "2" }, "one"), 0);
    store.update(two({ b: "2", a: "1" }, "other"), 0);
    expect(store.group("edits", "10s")!.series.size).toBe(1);
  });
});

describe("age", () => {
  it("of a change that was seen is when the server sent it", () => {
    const store = new SeriesStore();
    store.update(sent([point(0, 1)]), 12_345);
    expect(store.group("edits", "10s")!.series.values().next().value!.changedAt).toBe(12_345);
  });

  it("is no less when its window is over", () => {
    const store = new SeriesStore();
    const changed = (t: number, told: SentPoint): number => {
      store.update(sent([told]), t);
      return store.group("edits", "10s")!.series.values().next().value!.changedAt;
    };
    expect(changed(1_000, point(0, 5, 1, "open"))).toBe(1_000);
    expect(changed(22_000, point(0, 5, 2, "final"))).toBe(1_000);
    expect(changed(23_000, point(0, 6, 3, "corrected"))).toBe(23_000);
    expect(changed(24_000, point(S, 1, 1, "open"))).toBe(24_000);
    expect(changed(25_000, point(S, 2, 2, "final"))).toBe(25_000);
  });

  it("of what was already there is no less than the end of its window", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(0, 1)]), 60_000);
    const series = store.group("edits", "10s")!.series.values().next().value!;
    expect([series.changedAt, series.vouchedAt]).toEqual([-Infinity, S]);
    store.snapshot(sent([point(0, 1), point(6 * S, 1, 1, "open")]), 63_000);
    expect(series.vouchedAt).toBe(63_000);
  });
});

describe("a new snapshot", () => {
  it("replaces what it has and keeps the older past, but nothing later", () => {
    const store = new SeriesStore();
    store.update(sent([point(0, 1), point(S, 2), point(2 * S, 3), point(3 * S, 4)]), 0);
    store.snapshot(sent([point(S, 20), point(2 * S, 30)]), 4 * S);
    expect(values(store)).toEqual([
      [0, 1],
      [1, 20],
      [2, 30],
    ]);
  });

  it("of a server that knows nothing leaves nothing, once its history has answered neither", () => {
    const store = new SeriesStore();
    store.update(sent([point(0, 1)]), 0);
    store.snapshot(new Map(), 4 * S);
    expect(values(store)).toHaveLength(1);
    store.forgetUnconfirmed();
    expect(values(store)).toEqual([]);
  });
});

describe("history", () => {
  it("joins what is live without a seam", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(2 * S, 3), point(3 * S, 9, 7, "open")]), 35_000);
    store.history("edits", "10s", history([point(0, 1), point(S, 2), point(2 * S, 3), point(3 * S, 8, 6, "open")]), 0, 5 * S, 35_000);
    expect(values(store)).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 9],
    ]);
  });

  it("wins with a higher revision only", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(0, 5, 2), point(S, 6, 2)]), 2 * S);
    store.history("edits", "10s", history([point(0, 50, 3), point(S, 60, 2)]), 0, 2 * S, 2 * S);
    expect(values(store)).toEqual([
      [0, 50],
      [1, 6],
    ]);
  });

  it("that is whole takes out what it does not have; one that was cut does not", () => {
    for (const truncated of [false, true]) {
      const store = new SeriesStore();
      store.update(sent([point(0, 1), point(S, 2), point(2 * S, 3)]), 0);
      store.snapshot(sent([point(2 * S, 3)]), 3 * S);
      store.history("edits", "10s", history([point(0, 1), point(2 * S, 3)], truncated), 0, 3 * S, 3 * S);
      expect(values(store).map(([start]) => start)).toEqual(truncated ? [0, 1, 2] : [0, 2]);
    }
  });

  it("fills a gap that an outage left", () => {
    const store = new SeriesStore();
    store.snapshot(sent([point(0, 1)]), S);
    store.snapshot(sent([point(9 * S, 9)]), 10 * S);
    store.history("edits", "10s", history(Array.from({ length: 10 }, (_, index) => point(index * S, index))), 0, 10 * S, 10 * S);
    expect(values(store)).toHaveLength(10);
  });
});
