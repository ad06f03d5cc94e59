/** What the rules have found, as the hub tells it: parsing, and keeping in bounded memory. */

import { DAY_MS } from "./durations";
import { isRecord, number, string, textsOf } from "./json";

/** Worst first. */
export const SEVERITIES = ["critical", "error", "warning", "info"] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What needs somebody first. */
export const STATUSES = ["firing", "flapping", "acknowledged", "nodata", "pending", "resolved"] as const;
export type AlertStatus = (typeof STATUSES)[number];

export interface Alert {
  id: string;
  rule: string;
  /** What the rule is called for people. */
  title: string;
  series: { metric: string; window: string; dimensions: Readonly<Record<string, string>> };
  severity: Severity;
  status: AlertStatus;
  /** Epoch ms, as all times here. */
  opened: number;
  lastSeen: number;
  ackedBy: string | null;
  resolved: number | null;
  resolvedBy: string | null;
  expected: number | null;
  /** The band in which it would not have surprised. */
  lower: number | null;
  upper: number | null;
  actual: number | null;
  score: number | null;
  /** In words. */
  why: string;
  /** What whoever acknowledged, silenced or resolved it had to say. */
  note: string | null;
  /** The rule whose alert says the same already. */
  mutedBy: string | null;
  silencedUntil: number | null;
}

/** Past it, what needs somebody least goes first. */
export const MAX_ALERTS = 500;
/** A resolved alert is news for a day. */
export const FORGET_RESOLVED_MS = DAY_MS;

/** The alerts of a frame by id; null where it does not speak of alerts, which is not the same as that there are none. */
export function parseAlerts(sent: unknown): Map<string, Alert> | null {
  if (!isRecord(sent)) return null;
  const found = new Map<string, Alert>();
  for (const [id, one] of Object.entries(sent)) {
    const alert = parseAlert(id, one);
    if (alert !== null) found.set(id, alert);
  }
  return found;
}

/** A severity or a status that this page does not know is shown as one nobody overlooks, rather than left out. */
function parseAlert(id: string, sent: unknown): Alert | null {
  if (!isRecord(sent)) return null;
  const opened = number(sent.opened);
  if (opened === null) return null;
  const series = isRecord(sent.series) ? sent.series : {};
  return {
    id,
    rule: string(sent.rule) ?? id,
    title: string(sent.title) ?? "",
    series: {
      metric: string(series.metric) ?? "",
      window: string(series.window) ?? "",
      dimensions: textsOf(series.dimensions),
    },
    severity: SEVERITIES.find((known) => known === sent.severity) ?? "error",
    status: STATUSES.find((known) => known === sent.status) ?? "firing",
    opened,
    lastSeen: number(sent.last_seen) ?? opened,
    ackedBy: string(sent.acked_by),
    resolved: number(sent.resolved),
    resolvedBy: string(sent.resolved_by),
    expected: number(sent.expected),
    lower: number(sent.lower),
    upper: number(sent.upper),
    actual: number(sent.actual),
    score: number(sent.score),
    why: string(sent.why) ?? "",
    note: string(sent.note),
    mutedBy: string(sent.muted_by),
    silencedUntil: number(sent.silenced_until),
  };
}

export class AlertStore {
  #alerts = new Map<string, Alert>();
  #known = false;
  #inOrder: readonly Alert[] | null = null;
  #firing = 0;
  /** Changes whenever an alert does. */
  version = 0;

  /** Whether anybody has said what fires. Until then an empty list means nothing. */
  get known(): boolean {
    return this.#known;
  }

  get firing(): number {
    return this.#firing;
  }

  /** The server's state, which replaces all that was there; null where it does not know. */
  snapshot(sent: ReadonlyMap<string, Alert> | null, now: number): void {
    this.#known = sent !== null;
    this.#alerts = new Map(sent);
    this.#changed(now);
  }

  /** Those that changed; null where none did. */
  update(sent: ReadonlyMap<string, Alert> | null, now: number): void {
    if (sent === null) return;
    this.#known = true;
    for (const [id, alert] of sent) this.#alerts.set(id, alert);
    this.#changed(now);
  }

  /** Forget what was resolved long ago. Call it now and then. */
  forgetOld(now: number): void {
    if ([...this.#alerts.values()].some((alert) => isOld(alert, now))) this.#changed(now);
  }

  get(id: string): Alert | undefined {
    return this.#alerts.get(id);
  }

  /** What needs somebody first; of those, the worst, then the latest. The same list until something changes. */
  inOrder(): readonly Alert[] {
    return (this.#inOrder ??= [...this.#alerts.values()].sort(byUrgency));
  }

  #changed(now: number): void {
    for (const [id, alert] of this.#alerts) if (isOld(alert, now)) this.#alerts.delete(id);
    if (this.#alerts.size > MAX_ALERTS) {
      const kept = [...this.#alerts.values()].sort(byUrgency).slice(0, MAX_ALERTS);
      this.#alerts = new Map(kept.map((alert) => [alert.id, alert]));
    }
    this.#firing = 0;
    for (const { status } of this.#alerts.values()) if (status === "firing") this.#firing += 1;
    this.#inOrder = null;
    this.version += 1;
  }
}

function isOld(alert: Alert, now: number): boolean {
  return alert.status === "resolved" && now - (alert.resolved ?? alert.lastSeen) > FORGET_RESOLVED_MS;
}

function byUrgency(one: Alert, other: Alert): number {
  const byStatus = STATUSES.indexOf(one.status) - STATUSES.indexOf(other.status);
  if (byStatus !== 0) return byStatus;
  // What is over is read as a log: how bad it was comes second.
  if (one.status === "resolved") return changedAt(other) - changedAt(one) || (one.id < other.id ? -1 : 1);
  const bySeverity = SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity);
  return bySeverity || other.opened - one.opened || (one.id < other.id ? -1 : 1);
}

function changedAt(alert: Alert): number {
  return alert.resolved ?? alert.lastSeen;
}
