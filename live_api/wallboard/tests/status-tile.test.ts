import { describe, expect, it } from "vitest";
import type { StreamState, System } from "../src/protocol";
import type { Moment } from "../src/moment";
import { SeriesStore } from "../src/store";
import { numberOf } from "../src/tiles/number";
import { aboutOf, statusOf } from "../src/tiles/status";
import { DAY, moment, NOON, sent, tile } from "./sample";

const stream = (over: Partial<StreamState> = {}): StreamState => ({
  lag: 0,
  lagMs: 0,
  caughtUp: true,
  seenMs: NOON,
  maxEventMs: NOON,
  gaps: 0,
  lost: 0,
  lostExact: true,
  ...over,
});
const system = (over: Partial<System> = {}): System => ({
  state: "live",
  processorSeenMs: NOON,
  watermarkMs: NOON,
  streams: { "events:{0}": stream() },
  watch: null,
  rejects: null,
  rejectedTotal: null,
  ...over,
});
const words = (view: ReturnType<typeof statusOf>) => Object.fromEntries(view.parts.map((part) => [part.name, `${part.level}: ${part.words}`]));

describe("the status tile", () => {
  it("says that each part works", () => {
    const view = statusOf(system(), "live", moment());
    expect(view).toMatchObject({ freshness: "live", level: "ok" });
    expect(words(view)).toEqual({
      Line: "ok: live",
      Valkey: "ok: answers",
      Processor: "ok: counting",
      "events:{0}": "ok: keeping up",
    });
  });

  it("says how far a stream is behind, and what was lost", () => {
    const one = (over: Partial<StreamState>) => {
      const view = statusOf(system({ streams: { s: stream({ caughtUp: false, ...over }) } }), "live", moment());
      return words(view).s;
    };
    expect(one({ lagMs: 30_000, lag: 12_345 })).toBe("warning: 30 s behind, 12.3k waiting");
    expect(one({ lagMs: 180_000 })).toBe("critical: 3 min behind");
    expect(one({ lagMs: 400, lag: 3 })).toBe("ok: keeping up");
    expect(one({ lagMs: null, lag: null, seenMs: null })).toBe("none: not read yet");
    expect(one({ caughtUp: true, gaps: 1, lost: 70 })).toBe("warning: keeping up, 70 lost in 1 gap");
    expect(one({ caughtUp: true, gaps: 2, lost: 7, lostExact: false })).toBe("warning: keeping up, at least 7 lost in 2 gaps");
  });

  it("may be about a metric as well", () => {
    const store = new SeriesStore();
    store.update(new Map([sent("1d", [[DAY, 48, "open"]])]), NOON);
    const about = (over: Partial<Moment>) => {
      const at = moment(over);
      return aboutOf("Edits", numberOf(tile({ unit: "edits" }), store, at), at);
    };
    expect(about({})).toEqual({ name: "Edits", level: "ok", words: "48 edits, current" });
    expect(about({ now: NOON + 60_000 })).toEqual({ name: "Edits", level: "warning", words: "48 edits, no data for 60 s" });
    expect(statusOf(system(), "live", moment(), about({})).parts[0]!.name).toBe("Edits");
  });

  it("does not call well what cannot be known", () => {
    expect(words(statusOf(system({ state: "processor_silent", processorSeenMs: NOON - 8_000 }), "live", moment()))).toEqual({
      Line: "ok: live",
      Valkey: "ok: answers",
      Processor: "critical: silent for 12 s",
      "events:{0}": "none: unknown",
    });
    expect(words(statusOf(system({ state: "valkey_down" }), "live", moment()))).toMatchObject({
      Valkey: "critical: away",
      Processor: "none: unknown",
    });
  });

  it("is out of date with the line, and says so of each part", () => {
    const view = statusOf(system(), "lost", moment({ line: "lost", lostForMs: 9_000 }));
    expect(view).toMatchObject({ freshness: "lost", level: "critical" });
    expect(words(view)).toMatchObject({ Line: "critical: lost for 9 s", Valkey: "none: unknown" });
    expect(statusOf(null, "connecting", moment())).toMatchObject({ freshness: "waiting", parts: [{ words: "connecting" }] });
  });
});
