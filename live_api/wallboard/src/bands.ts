/** What was to be expected of the lines on the charts, and which windows were out of the ordinary: asked for where a rule
 * watches what a tile draws, at first for all of its history and then for each window that closes. */

import type { Tile } from "./board";
import { windowStart } from "./durations";
import { historyLength, panelOf } from "./panels";
import type { Rule, Score } from "./rest";

/** A window is judged when all metrics have come as far, and written within a second of that. */
const AFTER_CLOSE_MS = 1_500;
/** Not more often, however short the windows are. */
const LEAST_BETWEEN_MS = 5_000;
const RETRY_MS = 15_000;
const RULES_RETRY_MS = 30_000;
/** Windows that are asked for again: the last may have been judged late. */
const OVERLAP = 3;
/** Series of one question that are kept: a chart draws six. */
const MOST_SERIES = 100;

export interface Judged {
  lower: number | null;
  upper: number | null;
  anomalous: boolean;
}

/** By the start of the window. */
export type Band = ReadonlyMap<number, Judged>;

export interface BandsSurroundings {
  tiles(): readonly Tile[];
  rules(): Promise<Rule[]>;
  scores(metric: string, window: string, from: number, to: number, dimensions: Readonly<Record<string, string>>): Promise<Score[]>;
  now(): number;
  /** Windows that end by then are closed. */
  watermark(): number | null;
  random(): number;
  changed(): void;
}

interface Question {
  key: string;
  metric: string;
  window: string;
  width: number;
  count: number;
  dimensions: Readonly<Record<string, string>>;
}

interface Found {
  bands: Map<string, Map<number, Judged>>;
  /** Start of the last window that was asked for; null before the first answer. */
  upTo: number | null;
  nextAt: number;
}

export class Bands {
  #rules: readonly Rule[] | null = null;
  #rulesAt = -Infinity;
  readonly #found = new Map<string, Found>();
  #underWay = false;
  #stopped = false;

  constructor(private readonly around: BandsSurroundings) {}

  /** By the id of the series. */
  of(tile: Tile): ReadonlyMap<string, Band> | undefined {
    const question = this.#questionOf(tile);
    return question === null ? undefined : this.#found.get(question.key)?.bands;
  }

  /** The server has begun anew, perhaps with other rules. */
  forget(): void {
    this.#rules = null;
    this.#rulesAt = -Infinity;
    this.#found.clear();
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Asks for what has become known since, one question at a time. Call it now and then. */
  async look(): Promise<void> {
    if (this.#underWay || this.#stopped) return;
    this.#underWay = true;
    try {
      if (this.#rules === null) await this.#loadRules();
      const questions = new Map<string, Question>();
      for (const tile of this.around.tiles()) {
        const question = this.#questionOf(tile);
        if (question !== null && question.count > (questions.get(question.key)?.count ?? 0)) questions.set(question.key, question);
      }
      for (const key of this.#found.keys()) if (!questions.has(key)) this.#found.delete(key);
      for (const question of questions.values()) await this.#ask(question);
    } finally {
      this.#underWay = false;
    }
  }

  async #loadRules(): Promise<void> {
    const now = this.around.now();
    if (now - this.#rulesAt < RULES_RETRY_MS) return;
    this.#rulesAt = now;
    this.#rules = await this.around.rules().catch(() => null);
  }

  #questionOf(tile: Tile): Question | null {
    if (tile.type !== "line") return null;
    const panel = panelOf(tile);
    if (panel === null) return null;
    const { fine: window, fineMs: width, key: value } = panel;
    const metric = panel.metric.name;
    const isWatched = this.#rules?.some((rule) => rule.metric === metric && rule.window === window && rule.key === value);
    if (isWatched !== true) return null;
    const { dimensions } = tile;
    const key = JSON.stringify([metric, window, value, Object.entries(dimensions).sort()]);
    return { key, metric, window, width, count: historyLength(width), dimensions };
  }

  async #ask({ key, metric, window, width, count, dimensions }: Question): Promise<void> {
    const { around } = this;
    const found: Found = this.#found.get(key) ?? { bands: new Map(), upTo: null, nextAt: 0 };
    const now = around.now();
    if (now < found.nextAt) return;
    const last = windowStart(around.watermark() ?? now, width) - width;
    if (found.upTo !== null && last <= found.upTo) return;
    this.#found.set(key, found);
    const oldest = last - count * width;
    const from = found.upTo === null ? oldest : Math.max(oldest, found.upTo - OVERLAP * width);
    // The processor has yet to judge what has just closed; and walls that look together do not ask together.
    found.nextAt = now + Math.max(LEAST_BETWEEN_MS, Math.min(width, 60_000) * 0.2) * (0.9 + 0.2 * around.random());
    let scores: Score[];
    try {
      scores = await around.scores(metric, window, from, last + 2 * width, dimensions);
    } catch {
      found.nextAt = around.now() + RETRY_MS;
      return;
    }
    if (this.#stopped || this.#found.get(key) !== found) return;
    this.#take(found, scores, from, oldest);
    // What closed within the last moment may not have been judged: it is asked for once more.
    const judged = Math.max(-Infinity, ...scores.map(({ start }) => start));
    found.upTo = Math.min(last, Math.max(judged, found.upTo ?? -Infinity));
    if (found.upTo < last) found.nextAt = Math.max(found.nextAt, around.now() + (judged === -Infinity ? RETRY_MS : AFTER_CLOSE_MS));
    if (found.upTo === -Infinity) found.upTo = null;
    around.changed();
  }

  #take(found: Found, scores: readonly Score[], from: number, oldest: number): void {
    for (const band of found.bands.values()) {
      // What is told again replaces what was known: late events change what was made of a window.
      for (const start of band.keys()) if (start >= from || start < oldest) band.delete(start);
    }
    for (const { start, dimensions, lower, upper, anomalous } of scores) {
      const id = JSON.stringify(Object.entries(dimensions).sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)));
      let band = found.bands.get(id);
      if (band === undefined) {
        if (found.bands.size >= MOST_SERIES) continue;
        found.bands.set(id, (band = new Map()));
      }
      const known = band.get(start);
      // Several rules may watch the same: the narrowest band is the one that would have told first.
      const narrower = known === undefined || width(known) > width({ lower, upper });
      band.set(start, {
        lower: narrower ? lower : known.lower,
        upper: narrower ? upper : known.upper,
        anomalous: anomalous || (known?.anomalous ?? false),
      });
    }
    for (const [id, band] of found.bands) if (band.size === 0) found.bands.delete(id);
  }
}

function width({ lower, upper }: { lower: number | null; upper: number | null }): number {
  return lower === null || upper === null ? Infinity : upper - lower;
}
