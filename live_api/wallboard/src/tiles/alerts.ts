/** What an alert feed says: what needs somebody first, and in one line how things stand, also when that is not known. */

import type { Alert, AlertStatus, AlertStore, Severity } from "../alerts";
import { ageText, shortNumber } from "../format";
import { LATE_MS, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import { seriesLabel } from "./line";
import { worst, type Level } from "../threshold";
import { learningText, type Watched } from "../watch";

export interface AlertRow {
  id: string;
  severity: Severity;
  status: AlertStatus;
  rule: string;
  /** Which series: "claims, Riverside"; empty where it is about none. */
  about: string;
  why: string;
  /** "3, expected 40 (12 to 68)"; empty where nothing was measured. */
  values: string;
  /** "firing", "acknowledged by Ada", "firing, silenced until 14:05" */
  state: string;
  /** Whether anything can still be said about it. */
  goesOn: boolean;
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
export function feedOf(
  alerts: AlertStore,
  moment: Moment,
  limit: number,
  title: (metric: string) => string,
  watched: Watched | null = null,
): Feed {
  const freshness = freshnessOf(alerts, moment);
  const all = alerts.inOrder();
  return {
    freshness,
    ...standingOf(all, freshness, moment, watched),
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
  watched: Watched | null,
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
  const learning = learningText(watched);
  if (firing.length > 0) {
    return {
      standing: "firing",
      headline: `${firing.length} firing`,
      detail: parts([...severitiesOf(firing), ...others].join(", "), learning),
      level: worst(firing.map(({ severity }) => LEVELS[severity])),
    };
  }
  const headline = "No alert is firing";
  const detail = parts(others.join(", "), learning);
  if (count("nodata") + count("flapping") > 0) return { standing: "unsure", headline, detail, level: "none" };
  if (others.length > 0) return { standing: "attended", headline, detail, level: "none" };
  // What is not watched, or not yet, is not quiet.
  if (learning !== "") return { standing: "unsure", headline, detail: learning, level: "none" };
  if (watched?.series === 0) return { standing: "unsure", headline, detail: "no rule watches any series yet", level: "none" };
  const last = all[0];
  return {
    standing: "quiet",
    headline,
    detail: last === undefined ? "and none is known from the last 24 h" : `the last was over at ${timeText(last.resolved ?? last.lastSeen, moment)}`,
    level: "ok",
  };
}

function parts(...all: string[]): string {
  return all.filter((part) => part !== "").join("; ");
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
  const { id, severity, status, rule, why } = alert;
  const { metric, dimensions } = alert.series;
  const by = Object.keys(dimensions);
  const label = by.length === 0 ? "" : seriesLabel(dimensions, by);
  return {
    id,
    severity,
    status,
    rule: alert.title === "" ? rule.replaceAll("_", " ") : alert.title,
    about: [metric === "" ? "" : title(metric), label].filter((part) => part !== "").join(", "),
    why,
    values: valuesText(alert),
    state: stateText(alert, moment),
    goesOn: status !== "resolved",
    since: sinceText(alert, moment),
  };
}

function valuesText({ actual, expected, lower, upper, why }: Alert): string {
  if (actual === null) return "";
  // A limit says itself what was measured, and expects nothing.
  if (expected === null && lower === null && why !== "") return "";
  const band = lower === null || upper === null ? "" : `${shortNumber(lower)} to ${shortNumber(upper)}`;
  if (expected === null) return band === "" ? shortNumber(actual) : `${shortNumber(actual)}, expected ${band}`;
  return `${shortNumber(actual)}, expected ${shortNumber(expected)}${band === "" ? "" : ` (${band})`}`;
}

function stateText({ status, ackedBy, resolvedBy, mutedBy, silencedUntil }: Alert, moment: Moment): string {
  if (status === "resolved") return resolvedBy === null ? STATUS_WORDS[status] : `resolved by ${resolvedBy}`;
  const words = [ackedBy !== null && status === "acknowledged" ? `acknowledged by ${ackedBy}` : STATUS_WORDS[status]];
  if (ackedBy !== null && status !== "acknowledged") words.push(`acknowledged by ${ackedBy}`);
  if (silencedUntil !== null && silencedUntil > moment.now) words.push(`silenced until ${timeText(silencedUntil, moment)}`);
  if (mutedBy !== null) words.push(`part of ${mutedBy.replaceAll("_", " ")}`);
  return words.join(", ");
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
