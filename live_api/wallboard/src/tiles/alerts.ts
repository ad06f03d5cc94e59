/** What an alert feed says: what needs somebody first, and in one line how things stand, also when that is not known. */

import type { Alert, AlertStatus, AlertStore, Severity } from "../alerts";
import { ageText } from "../format";
import { LATE_MS, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import { seriesLabel } from "./line";
import { worst, type Level } from "../threshold";

export interface AlertRow {
  id: string;
  severity: Severity;
  status: AlertStatus;
  rule: string;
  /** Which series: "claims, Riverside"; empty where it is about none. */
  about: string;
  why: string;
  /** "firing", "acknowledged by Ada" */
  state: string;
  /** "since 13:58, 5 min" */
  since: string;
}

/** How things stand. What is not known is none of the others, whatever the list says. */
export type Standing = "unknown" | "firing" | "unsure" | "attended" | "quiet";

export interface Feed {
  freshness: Freshness;
  standing: Standing;
  /** "2 firing", "No alert is firing" */
  headline: string;
  /** "1 critical, 1 warning"; "last one resolved at 13:58" */
  detail: string;
  level: Level;
  rows: AlertRow[];
  hidden: number;
}

const LEVELS: Record<Severity, Level> = { critical: "critical", error: "critical", warning: "warning", info: "none" };

/** `title` of a metric's name, where a catalog gives one. */
export function feedOf(alerts: AlertStore, moment: Moment, limit: number, title: (metric: string) => string): Feed {
  const freshness = freshnessOf(alerts, moment);
  const all = alerts.inOrder();
  return {
    freshness,
    ...standingOf(all, freshness, moment),
    rows: all.slice(0, limit).map((alert) => rowOf(alert, moment, title)),
    hidden: Math.max(0, all.length - limit),
  };
}

/** Alerts have no age: that none has come for hours is what one hopes for. They are as current as who judges. */
function freshnessOf({ known }: AlertStore, { line, behindMs }: Moment): Freshness {
  if (line === "lost" || line === "source_down") return line;
  if (line === "connecting" || !known) return "waiting";
  return behindMs !== null && behindMs >= LATE_MS ? "late" : "live";
}

function standingOf(
  all: readonly Alert[],
  freshness: Freshness,
  moment: Moment,
): Pick<Feed, "standing" | "headline" | "detail" | "level"> {
  if (freshness !== "live" && freshness !== "late") {
    const why = { lost: "the line is lost", source_down: "nobody judges", waiting: "nothing was heard of alerts yet" } as const;
    const last = all.some(({ status }) => status !== "resolved") ? "below is what was known last" : "";
    return {
      standing: "unknown",
      headline: "Not known",
      detail: [why[freshness as keyof typeof why], last].filter((part) => part !== "").join("; "),
      level: "none",
    };
  }
  const firing = all.filter(({ status }) => status === "firing");
  const count = (status: AlertStatus): number => all.filter((alert) => alert.status === status).length;
  const others = (["flapping", "acknowledged", "nodata", "pending"] as const).flatMap((status) => {
    const found = count(status);
    return found > 0 ? [`${found} ${STATUS_WORDS[status]}`] : [];
  });
  if (firing.length > 0) {
    return {
      standing: "firing",
      headline: `${firing.length} firing`,
      detail: [...severitiesOf(firing), ...others].join(", "),
      level: worst(firing.map(({ severity }) => LEVELS[severity])),
    };
  }
  const headline = "No alert is firing";
  if (count("nodata") + count("flapping") > 0) return { standing: "unsure", headline, detail: others.join(", "), level: "none" };
  if (others.length > 0) return { standing: "attended", headline, detail: others.join(", "), level: "none" };
  const last = all[0];
  return {
    standing: "quiet",
    headline,
    detail: last === undefined ? "and none is known from the last 24 h" : `the last was over at ${timeText(last.resolved ?? last.lastSeen, moment)}`,
    level: "ok",
  };
}

const STATUS_WORDS: Record<AlertStatus, string> = {
  firing: "firing",
  flapping: "flapping",
  acknowledged: "acknowledged",
  nodata: "without data",
  pending: "pending",
  resolved: "resolved",
};

function severitiesOf(all: readonly Alert[]): string[] {
  return (["critical", "error", "warning", "info"] as const).flatMap((severity) => {
    const found = all.filter((alert) => alert.severity === severity).length;
    return found > 0 ? [`${found} ${severity}`] : [];
  });
}

function rowOf(alert: Alert, moment: Moment, title: (metric: string) => string): AlertRow {
  const { id, severity, status, rule, why, ackedBy } = alert;
  const { metric, dimensions } = alert.series;
  const by = Object.keys(dimensions);
  const label = by.length === 0 ? "" : seriesLabel(dimensions, by);
  return {
    id,
    severity,
    status,
    rule: rule.replaceAll("_", " "),
    about: [metric === "" ? "" : title(metric), label].filter((part) => part !== "").join(", "),
    why,
    state: status === "acknowledged" && ackedBy !== null ? `acknowledged by ${ackedBy}` : STATUS_WORDS[status],
    since: sinceText(alert, moment),
  };
}

function sinceText({ status, opened, resolved, lastSeen }: Alert, moment: Moment): string {
  if (status === "resolved") {
    const end = resolved ?? lastSeen;
    return `until ${timeText(end, moment)}, for ${ageText(end - opened)}`;
  }
  return `since ${timeText(opened, moment)}, ${ageText(moment.now - opened)}`;
}

/** The time alone while it is today's, and the date with it where it is not. */
function timeText(ms: number, { now, zone }: Moment): string {
  const date = zone.date(ms);
  return date === zone.date(now) ? zone.minute(ms) : `${date}, ${zone.minute(ms)}`;
}
