/** What `/v1/churn` and `/v1/models/{name}` say, read without believing it. */

import { isRecord, number, oneOf, string } from "./json";
import { records, type Answer } from "./people";

export const LEVELS = ["high", "medium", "low"] as const;
export type RiskLevel = (typeof LEVELS)[number];

export interface Risk {
  people: number;
  /** Leaving is: nothing for so long; in seconds. */
  horizonS: number | null;
  proven: boolean;
  /** How good the model has been, in one line. */
  summary: string;
  levels: { level: RiskLevel; from: number; people: number; expected: number }[];
  /** Why, of so many people of those most likely to leave. */
  factorsOf: number;
  factors: { name: string; words: string; people: number }[];
  segments: { segment: string; people: number; high: number; medium: number; low: number }[];
}

/** How well something tells who leaves. */
export interface Compared {
  auc: number | null;
  logLoss: number | null;
}

/** One tenth of the probabilities; means of what was said, and which share of those people left. */
export interface Bin {
  rows: number;
  said: number;
  left: number;
}

export interface ChurnQuality {
  labels: number;
  baseRate: number | null;
  model: Compared;
  recency: Compared;
  constant: Compared;
  ece: number | null;
  /** Ten, from 0 to 1; null for one in which nobody was. */
  reliability: (Bin | null)[];
}

export interface Model {
  name: string;
  kind: string;
  version: number;
  samples: number;
  proven: boolean;
  drifts: number;
  drifted: number | null;
  swapped: number | null;
  /** Of a model of churn; null for any other. */
  churn: ChurnQuality | null;
  /** Of any other: figures by name. */
  figures: [string, number][];
  /** Of a forecast: figures by horizon, nearest first. */
  horizons: { horizon: string; figures: Record<string, number> }[];
}

export function riskIn({ body }: Answer): Risk {
  return {
    people: number(body.people) ?? 0,
    horizonS: number(body.horizon_s),
    proven: body.proven === true,
    summary: string(body.model) ?? "",
    levels: records(body.levels).flatMap((one) => {
      const level = oneOf(LEVELS, one.level);
      return level === null ? [] : [{ level, from: number(one.from) ?? 0, people: number(one.people) ?? 0, expected: number(one.expected) ?? 0 }];
    }),
    factorsOf: number(body.factors_of) ?? 0,
    factors: records(body.factors).flatMap((one) => {
      const name = string(one.name);
      return name === null ? [] : [{ name, words: string(one.words) ?? name, people: number(one.people) ?? 0 }];
    }),
    segments: records(body.segments).flatMap((one) => {
      const segment = string(one.segment);
      if (segment === null) return [];
      return [{ segment, people: number(one.people) ?? 0, high: number(one.high) ?? 0, medium: number(one.medium) ?? 0, low: number(one.low) ?? 0 }];
    }),
  };
}

export function modelIn({ body }: Answer): Model {
  const quality = isRecord(body.quality) ? body.quality : {};
  const drift = isRecord(body.drift) ? body.drift : {};
  const kind = string(body.kind) ?? "";
  return {
    name: string(body.name) ?? "",
    kind,
    version: number(body.version) ?? 0,
    samples: number(body.samples) ?? 0,
    proven: body.proven === true,
    drifts: number(drift.count) ?? 0,
    drifted: timeOf(drift.at),
    swapped: timeOf(body.swapped),
    churn: kind === "churn" ? churnIn(quality) : null,
    figures: kind === "churn" ? [] : figuresIn(quality),
    horizons: Object.entries(isRecord(quality.horizons) ? quality.horizons : {})
      .flatMap(([horizon, figures]) => (isRecord(figures) ? [{ horizon, figures: Object.fromEntries(figuresIn(figures)) }] : []))
      .sort((one, other) => Number(one.horizon) - Number(other.horizon)),
  };
}

function churnIn(quality: Readonly<Record<string, unknown>>): ChurnQuality {
  return {
    labels: number(quality.labels) ?? 0,
    baseRate: number(quality.base_rate),
    model: { auc: number(quality.auc), logLoss: number(quality.log_loss) },
    recency: { auc: number(quality.auc_recency), logLoss: number(quality.log_loss_recency) },
    // Who says the same of everybody puts nobody before anybody.
    constant: { auc: number(quality.auc) === null ? null : 0.5, logLoss: number(quality.log_loss_base) },
    ece: number(quality.ece),
    reliability: binsIn(quality.reliability),
  };
}

const TENTHS = 10;

/** Tenths in which nobody was are not told. */
function binsIn(sent: unknown): (Bin | null)[] {
  const bins: (Bin | null)[] = new Array<null>(TENTHS).fill(null);
  for (const one of records(sent)) {
    const [rows, said, left] = [number(one.rows), number(one.said), number(one.left)];
    if (rows === null || said === null || left === null || said < 0 || said > 1) continue;
    bins[Math.min(TENTHS - 1, Math.floor(TENTHS * said))] = { rows, said, left };
  }
  return bins;
}

function figuresIn(quality: Readonly<Record<string, unknown>>): [string, number][] {
  return Object.entries(quality).flatMap(([name, value]): [string, number][] => {
    const found = number(value);
    return found === null ? [] : [[name, found]];
  });
}

function timeOf(sent: unknown): number | null {
  const time = Date.parse(string(sent) ?? "");
  return Number.isNaN(time) ? null : time;
}
