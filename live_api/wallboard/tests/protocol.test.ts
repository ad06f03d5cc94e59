import { describe, expect, it } from "vitest";
import { parseHistory, parseMessage } from "../src/protocol";

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
    expect(message.series.get("sketch")!.points[0]!.value).toEqual({ p50: 3 });
    expect(message.series.has("broken")).toBe(false);
    expect(message.system).toMatchObject({ state: "processor_silent", rejects: { malformed: 3 }, rejectedTotal: null });
    expect(message.system!.streams.s).toEqual({
      lag: null,
      lagMs: 2,
      caughtUp: false,
      seenMs: null,
      maxEventMs: null,
      gaps: 0,
      lost: 0,
      lostExact: true,
    });
    expect(parseMessage('{"op":"update","t":1}')).toMatchObject({ system: null, alerts: null, seq: null });
  });

  it("of itself when the line opens, also where an older server says less", () => {
    expect(parseMessage('{"op":"welcome","epoch":"a","heartbeat_s":0.5,"resumed":true,"wall":"d1"}')).toMatchObject({
      heartbeatS: 0.5,
      resumed: true,
      wall: "d1",
    });
    expect(parseMessage('{"op":"welcome","epoch":"a"}')).toMatchObject({ heartbeatS: 5, resumed: false, wall: null });
    expect(parseMessage('{"op":"reload","within_ms":9000}')).toEqual({ op: "reload", withinMs: 9000 });
    expect(parseMessage('{"op":"snapshot","t":1,"seq":3,"epoch":"b","alerts":{}}')).toMatchObject({ epoch: "b", seq: 3, alerts: new Map() });
  });

  it("about the past", () => {
    expect(() => parseHistory([])).toThrow("/v1/points");
    const { points } = parseHistory({
      points: [{ start: "2015-09-12T00:00:00Z", dimensions: { a: 1 }, value: 2, count: 2, state: "final", revision: 3 }],
    });
    expect(points).toEqual([
      { dimensions: { a: "1" }, point: { start: Date.UTC(2015, 8, 12), value: 2, count: 2, state: "final", revision: 3, error: null } },
    ]);
  });

  it("how far off a value may be, where it is not exact", () => {
    const sent = { start: 0, dimensions: {}, value: { a: 2 }, count: 2, state: "final", revision: 3 };
    expect(parseHistory({ points: [{ ...sent, error: 0.01 }, sent] }).points.map(({ point }) => point.error)).toEqual([0.01, null]);
    const series = { k: { metric: "m", window: "1m", dimensions: {}, points: [[0, { a: 2 }, 2, "open", 1, 0.01], [60, { a: 2 }, 2, "open", 1]] } };
    const message = parseMessage(JSON.stringify({ op: "update", seq: 1, t: 5, series }));
    expect(message?.op === "update" && message.series.get("k")?.points.map((point) => point.error)).toEqual([0.01, null]);
  });
});
