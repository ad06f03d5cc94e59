/** What a model tile draws: how good a model has been beside simple guesses, and whether what it said came true. */

import { exactNumber, shareText, shortNumber, type Zone } from "../format";
import type { Compared, Model } from "../models";

export interface QualityRow {
  name: string;
  auc: string;
  logLoss: string;
}

/** One tenth of the probabilities; said and happened from 0 to 1. */
export interface BinBar {
  /** "20–30%" */
  range: string;
  said: number | null;
  happened: number | null;
  rows: string;
  /** "of 840 said to leave with 25%, 26% did" */
  words: string;
}

export interface ModelView {
  proven: boolean;
  /** In words: whether it has shown to be of use. */
  verdict: string;
  rows: QualityRow[];
  bins: BinBar[];
  /** "31% left", "off by 1.3 points", … */
  notes: string[];
  /** Of a model of another kind. */
  figures: { name: string; value: string }[];
  /** Of a forecast: names of figures, and a row of them for each horizon. */
  columns: string[];
  horizons: { horizon: string; values: string[] }[];
}

const MOST_COLUMNS = 5;

export function modelOf(model: Model, zone: Zone): ModelView {
  const { churn } = model;
  const columns = [...new Set(model.horizons.flatMap(({ figures }) => Object.keys(figures)))].slice(0, MOST_COLUMNS);
  const notes = [`version ${exactNumber(model.version)}`, `${shortNumber(model.samples)} ${model.samples === 1 ? "answer" : "answers"}`];
  if (churn?.baseRate != null) notes.push(`${shareText(churn.baseRate)} left`);
  if (churn?.ece != null) notes.push(`off by ${(100 * churn.ece).toFixed(1)} points`);
  if (model.swapped !== null) notes.push(`changed ${zone.date(model.swapped)}`);
  if (model.drifted !== null) notes.push(`drifted ${zone.date(model.drifted)}`);
  return {
    proven: model.proven,
    verdict: verdictOf(model),
    rows:
      churn === null || model.samples === 0
        ? []
        : [rowOf("this model", churn.model), rowOf("time since last seen", churn.recency), rowOf("same for everybody", churn.constant)],
    bins: (churn?.reliability ?? []).map((bin, tenth) => ({
      range: `${10 * tenth}–${10 * tenth + 10}%`,
      said: bin?.said ?? null,
      happened: bin?.left ?? null,
      rows: shortNumber(Math.round(bin?.rows ?? 0)),
      words: bin
        ? `of ${exactNumber(Math.round(bin.rows))} said to leave with ${shareText(bin.said)}, ${shareText(bin.left)} did`
        : `nobody was said to leave with ${10 * tenth} to ${10 * tenth + 10}%`,
    })),
    notes,
    figures: model.figures.map(([name, value]) => ({ name: spoken(name), value: shortNumber(value) })),
    columns: columns.map(spoken),
    horizons: model.horizons.map(({ horizon, figures }) => ({
      horizon,
      values: columns.map((name) => (figures[name] === undefined ? "–" : shortNumber(figures[name]))),
    })),
  };
}

function verdictOf(model: Model): string {
  if (model.version === 0) return "unproven: the model has not begun";
  if (model.kind !== "churn") return model.proven ? "proven: better than the simple guess" : "unproven: not shown to be better than the simple guess";
  if (model.samples === 0) return "unproven: 0 answers yet";
  return model.proven ? "proven: better than knowing when people came last" : "unproven: not shown to be better than knowing when people came last";
}

function rowOf(name: string, { auc, logLoss }: Compared): QualityRow {
  return { name, auc: auc === null ? "–" : auc.toFixed(3), logLoss: logLoss === null ? "–" : logLoss.toFixed(3) };
}

function spoken(name: string): string {
  return name.replaceAll("_", " ");
}
