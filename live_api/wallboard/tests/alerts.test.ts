import { describe, expect, it } from "vitest";
import { AlertStore, FORGET_RESOLVED_MS, MAX_ALERTS, parseAlerts, type Alert } from "../src/alerts";

const NOW = Date.UTC(2026, 2, 4, 14);

function sent(over: Record<string, unknown> = {}) {
  return {
    id: "a",
    rule: "claims_low",
    series: { metric: "claims", window: "1m", dimensions: { community: "Riverside" } },
    severity: "critical",
    status: "firing",
    opened: NOW - 60_000,
    last_seen: NOW,
    acked_by: null,
    resolved: null,
    expected: 40,
    actual: 3,
    score: 5.2,
    why: "3 instead of 40",
    ...over,
  };
}

function parsed(alerts: Record<string, unknown>): Map<string, Alert> {
  return parseAlerts(alerts)!;
}

const ids = (store: AlertStore): string[] => store.inOrder().map((alert) => alert.id);

describe("parsing", () => {
  it("reads an alert as it is sent", () => {
    expect(parsed({ a: sent() }).get("a")).toEqual({
      id: "a",
      rule: "claims_low",
      title: "",
      series: { metric: "claims", window: "1m", dimensions: { community: "Riverside" } },
      severity: "critical",
      status: "firing",
      opened: NOW - 60_000,
      lastSeen: NOW,
      ackedBy: null,
      resolved: null,
      resolvedBy: null,
      lower: null,
      upper: null,
      note: null,
      mutedBy: null,
      silencedUntil: null,
      expected: 40,
      actual: 3,
      score: 5.2,
      why: "3 instead of 40",
    });
  });

  it("tells nothing said from nothing wrong", () => {
    expect(parseAlerts(undefined)).toBeNull();
    expect(parseAlerts(null)).toBeNull();
    expect(parseAlerts([])).toBeNull();
    expect(parseAlerts({})).toEqual(new Map());
  });

  it("leaves out what is no alert, and overlooks none for a word it does not know", () => {
    const found = parsed({ a: 7, b: { severity: "critical" }, c: { opened: NOW, severity: "apocalyptic", status: "on fire" } });
    expect([...found.keys()]).toEqual(["c"]);
    expect(found.get("c")).toMatchObject({ rule: "c", severity: "error", status: "firing", lastSeen: NOW, why: "" });
  });
});

describe("the store", () => {
  it("knows nothing until a frame speaks of alerts, and not after a snapshot that does not", () => {
    const store = new AlertStore();
    expect(store.known).toBe(false);
    store.update(null, NOW);
    expect(store.known).toBe(false);
    store.snapshot(new Map(), NOW);
    expect([store.known, store.firing]).toEqual([true, 0]);
    store.update(parsed({ a: sent() }), NOW);
    expect([store.known, store.firing]).toEqual([true, 1]);
    store.snapshot(null, NOW);
    expect([store.known, store.firing, ids(store)]).toEqual([false, 0, []]);
  });

  it("puts first what needs somebody, the worst of it, and the latest", () => {
    const store = new AlertStore();
    store.snapshot(
      parsed({
        over: sent({ status: "resolved", resolved: NOW - 5 }),
        later: sent({ status: "resolved", resolved: NOW - 1, severity: "info" }),
        seen: sent({ status: "acknowledged" }),
        mild: sent({ severity: "warning", opened: NOW }),
        old: sent({ opened: NOW - 9_000_000 }),
        young: sent({ opened: NOW - 1 }),
        blind: sent({ status: "nodata" }),
        maybe: sent({ status: "pending" }),
        restless: sent({ status: "flapping" }),
      }),
      NOW,
    );
    expect(ids(store)).toEqual(["young", "old", "mild", "restless", "seen", "blind", "maybe", "later", "over"]);
    expect(store.firing).toBe(3);
  });

  it("takes what changed, and gives the same list until something does", () => {
    const store = new AlertStore();
    store.snapshot(parsed({ a: sent(), b: sent({ opened: NOW }) }), NOW);
    const list = store.inOrder();
    expect(store.inOrder()).toBe(list);
    const { version } = store;
    store.update(parsed({ b: sent({ status: "acknowledged", acked_by: "Ada" }) }), NOW);
    expect(store.version).not.toBe(version);
    expect(ids(store)).toEqual(["a", "b"]);
    expect(store.inOrder()[1]!.ackedBy).toBe("Ada");
    expect(store.firing).toBe(1);
  });

  it("forgets what was resolved a day ago", () => {
    const store = new AlertStore();
    store.snapshot(parsed({ a: sent({ status: "resolved", resolved: NOW }), b: sent() }), NOW);
    store.forgetOld(NOW + FORGET_RESOLVED_MS);
    expect(ids(store)).toEqual(["b", "a"]);
    store.forgetOld(NOW + FORGET_RESOLVED_MS + 1);
    expect(ids(store)).toEqual(["b"]);
  });

  it("keeps so many at most, and of those what needs somebody", () => {
    const store = new AlertStore();
    for (let index = 0; index < 2 * MAX_ALERTS; index += 1) {
      const alert = sent({ status: index % 10 === 0 ? "firing" : "resolved", resolved: NOW - index });
      store.update(parsed({ [`#${index}`]: alert }), NOW);
    }
    expect(store.inOrder()).toHaveLength(MAX_ALERTS);
    expect(store.firing).toBe(100);
  });
});
