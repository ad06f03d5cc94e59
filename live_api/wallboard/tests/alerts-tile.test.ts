import { describe, expect, it } from "vitest";
import { AlertStore, parseAlerts } from "../src/alerts";
import { feedOf } from "../src/tiles/alerts";
import { watchedOf } from "../src/watch";
import { moment, NOON } from "./tile-world";

const at = moment();
const title = (metric: string): string => (metric === "claims" ? "Food claimed" : metric);

function storeWith(alerts: Record<string, object>): AlertStore {
  const store = new AlertStore();
  const whole = Object.entries(alerts).map(([id, over]) => [
    id,
    {
      rule: "claims_low",
      series: { metric: "claims", window: "1m", dimensions: { community: "Riverside" } },
      severity: "critical",
      status: "firing",
      opened: NOON - 300_000,
      last_seen: NOON,
      why: "3 instead of 40",
      ...over,
    },
  ]);
  store.snapshot(parseAlerts(Object.fromEntries(whole)), NOON);
  return store;
}

const feed = (store: AlertStore, when = at, limit = 10) => feedOf(store, when, limit, title);

describe("the feed", () => {
  it("says in words what fires, since when and why", () => {
    const found = feed(storeWith({ a: {}, b: { severity: "info" }, c: { status: "acknowledged", acked_by: "Ada" } }));
    expect(found).toMatchObject({
      freshness: "live",
      standing: "firing",
      headline: "2 firing",
      detail: "1 critical, 1 info, 1 acknowledged",
      level: "critical",
    });
    expect(found.rows[0]).toEqual({
      id: "a",
      severity: "critical",
      status: "firing",
      rule: "claims low",
      about: "Food claimed, Riverside",
      why: "3 instead of 40",
      values: "",
      state: "firing",
      goesOn: true,
      since: "since 11:55, 5 min",
    });
    expect(found.rows[2]!.state).toBe("acknowledged by Ada");
  });

  it("is as bad as the worst that fires", () => {
    const level = (severity: string) => feed(storeWith({ a: { severity } })).level;
    expect(["critical", "error", "warning", "info"].map(level)).toEqual(["critical", "critical", "warning", "none"]);
  });

  it("says that none fires only when it is known", () => {
    expect(feed(new AlertStore())).toMatchObject({ freshness: "waiting", standing: "unknown", headline: "Not known", level: "none" });
    expect(feed(storeWith({}))).toMatchObject({ freshness: "live", standing: "quiet", headline: "No alert is firing", level: "ok" });
    for (const line of ["lost", "source_down"] as const) {
      expect(feed(storeWith({}), moment({ line }))).toMatchObject({ freshness: line, standing: "unknown", level: "none" });
    }
    expect(feed(storeWith({}), moment({ line: "connecting" }))).toMatchObject({ freshness: "waiting", standing: "unknown" });
    expect(feed(storeWith({}), moment({ behindMs: 60_000 }))).toMatchObject({ freshness: "late", standing: "quiet" });
  });

  it("still shows what fired last, as such", () => {
    const found = feed(storeWith({ a: {} }), moment({ line: "lost" }));
    expect(found.detail).toBe("the line is lost; below is what was known last");
    expect(found.rows).toHaveLength(1);
  });

  it("tells quiet from attended to and from unsure", () => {
    expect(feed(storeWith({ a: { status: "acknowledged" } }))).toMatchObject({ standing: "attended", level: "none" });
    expect(feed(storeWith({ a: { status: "nodata" } }))).toMatchObject({ standing: "unsure", detail: "1 without data", level: "none" });
    const over = feed(storeWith({ a: { status: "resolved", resolved: NOON - 60_000 } }));
    expect(over).toMatchObject({ standing: "quiet", detail: "the last was over at 11:59" });
    expect(over.rows[0]!.since).toBe("until 11:59, for 4 min");
  });

  it("dates what did not begin today, and is cut at the limit", () => {
    const found = feed(storeWith({ a: { opened: NOON - 26 * 3_600_000 }, b: {}, c: {} }), at, 3);
    expect(found.rows[2]!.since).toBe(`since ${at.zone.date(NOON - 26 * 3_600_000)}, 10:00, 26 h`);
    expect(feed(storeWith({ a: {}, b: {}, c: {} }), at, 2)).toMatchObject({ hidden: 1 });
  });

  it("calls a rule by its title, where it has one", () => {
    expect(feed(storeWith({ a: {} })).rows[0]!.rule).toBe("claims low");
    expect(feed(storeWith({ a: { title: "Few claims" } })).rows[0]!.rule).toBe("Few claims");
  });

  it("says what was measured and what was expected", () => {
    const values = (over: object) => feed(storeWith({ a: over })).rows[0]!.values;
    expect(values({ actual: 3, expected: 40, lower: 12, upper: 68.5 })).toBe("3, expected 40 (12 to 68.5)");
    expect(values({ actual: 3, expected: 40 })).toBe("3, expected 40");
    expect(values({ actual: 3, lower: 0, upper: 5 })).toBe("3, expected 0 to 5");
    expect(values({ actual: 3, why: "" })).toBe("3");
    // A limit has said it.
    expect(values({ actual: 3, why: "3 (limit 5)" })).toBe("");
    expect(values({ expected: 40 })).toBe("");
  });

  it("says who has done what, and that nobody is told meanwhile", () => {
    const state = (over: object) => feed(storeWith({ a: over })).rows[0]!.state;
    expect(state({ status: "flapping" })).toBe("flapping");
    expect(state({ status: "nodata", acked_by: "Ada" })).toBe("without data, acknowledged by Ada");
    expect(state({ silenced_until: NOON + 3_600_000 })).toBe("firing, silenced until 13:00");
    expect(state({ silenced_until: NOON })).toBe("firing");
    expect(state({ muted_by: "all_claims" })).toBe("firing, part of all claims");
    expect(state({ status: "resolved", resolved: NOON, resolved_by: "Bob" })).toBe("resolved by Bob");
  });

  it("lets nobody say anything about what is over", () => {
    expect(feed(storeWith({ a: { status: "resolved", resolved: NOON } })).rows[0]!.goesOn).toBe(false);
  });

  it("is not quiet where rules are still learning, or watch nothing", () => {
    const of = (watch: Record<string, Record<string, number>> | null, alerts = {}) =>
      feedOf(storeWith(alerts), at, 10, title, watchedOf(watch));
    const some = { low: { learning: 3, ok: 20 }, high: { firing: 1 } };
    expect(of(some)).toMatchObject({ standing: "unsure", level: "none", detail: "still learning: 3 of 24 series" });
    expect(of(some, { a: { status: "acknowledged" } }).detail).toBe("1 acknowledged; still learning: 3 of 24 series");
    expect(of(some, { a: {} }).detail).toBe("1 critical; still learning: 3 of 24 series");
    expect(of({ low: {} })).toMatchObject({ standing: "unsure", detail: "no rule watches any series yet" });
    expect(of({ low: { ok: 24 } })).toMatchObject({ standing: "quiet", level: "ok" });
    expect(of(null)).toMatchObject({ standing: "quiet", level: "ok" });
  });

  it("takes an alert about no series", () => {
    expect(feed(storeWith({ a: { series: {} } })).rows[0]!.about).toBe("");
  });
});
