/** What comes on no topic, and is asked for again and again: analyses of people and models, while somebody may look at them. */

import type { Tile, TileType } from "./board";
import { freshnessOf, type Freshness } from "./freshness";
import type { Moment } from "./moment";
import type { Answer } from "./people";
import type { SourceState } from "./protocol";

export const POLL_MS = 5_000;
/** After failures, each wait is twice the one before, up to here. */
const MOST_WAIT_MS = 60_000;
/** Questions under way at once: a board of thirty tiles must not take the server from others. */
const AT_ONCE = 3;

export interface PolledSurroundings {
  /** What is shown now, or in its turn. */
  tiles(): readonly Tile[];
  fetch(path: string): Promise<Answer>;
  /** Server time. */
  now(): number;
  random(): number;
  changed(): void;
}

/** What is known of one question. */
export interface Told {
  /** The last answer, however old; null before the first. */
  readonly answer: Answer | null;
  /** When it came, server time. */
  readonly at: number | null;
  /** What the last attempt failed with; null after an answer. */
  readonly problem: string | null;
}

const NOTHING: Told = { answer: null, at: null, problem: null };

interface Question {
  told: Told;
  nextAt: number;
  failures: number;
  isUnderWay: boolean;
}

export class Polled {
  readonly #questions = new Map<string, Question>();
  #underWay = 0;
  #stopped = false;

  constructor(private readonly around: PolledSurroundings) {}

  /** The same object for as long as nothing new was heard. */
  of(tile: Tile): Told {
    const path = pathOf(tile);
    return (path === null ? undefined : this.#questions.get(path)?.told) ?? NOTHING;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** The server is there again: what it failed to answer is asked at the next look. */
  again(): void {
    for (const question of this.#questions.values()) if (question.failures > 0) question.nextAt = this.around.now();
  }

  /** Asks what is due. Call it now and then, but not for a page that nobody sees. */
  look(): void {
    if (this.#stopped) return;
    const wanted = new Set(this.around.tiles().flatMap((tile) => pathOf(tile) ?? []));
    for (const path of this.#questions.keys()) if (!wanted.has(path)) this.#questions.delete(path);
    const now = this.around.now();
    for (const path of wanted) {
      if (this.#underWay >= AT_ONCE) return;
      let question = this.#questions.get(path);
      if (question === undefined) this.#questions.set(path, (question = { told: NOTHING, nextAt: now, failures: 0, isUnderWay: false }));
      if (!question.isUnderWay && now >= question.nextAt) void this.#ask(path, question);
    }
  }

  async #ask(path: string, question: Question): Promise<void> {
    const { around } = this;
    question.isUnderWay = true;
    this.#underWay += 1;
    try {
      const answer = await around.fetch(path);
      question.told = { answer, at: around.now(), problem: null };
      question.failures = 0;
    } catch (error) {
      question.told = { ...question.told, problem: error instanceof Error ? error.message : String(error) };
      question.failures += 1;
    } finally {
      question.isUnderWay = false;
      this.#underWay -= 1;
    }
    const wait = Math.min(MOST_WAIT_MS, POLL_MS * 2 ** question.failures);
    // Spread, as walls that were started together would all ask together.
    question.nextAt = around.now() + wait * (0.9 + 0.2 * around.random());
    if (!this.#stopped) around.changed();
  }
}

/** Which parameter says how much is wanted. */
const LIMITS: Partial<Record<TileType, string>> = { retention: "cohorts", lifecycle: "limit", paths: "limit" };

/** Where a tile's numbers are, relative to the page's root; null for one that is told of them. */
export function pathOf({ type, analysis, period, limit }: Tile): string | null {
  if (analysis === null) return null;
  // Nobody is named on a wall.
  if (type === "risk") return "v1/churn?limit=0";
  if (type === "model") return `v1/models/${encodeURIComponent(analysis)}`;
  const most = LIMITS[type];
  const query = new URLSearchParams({ ...(period !== null && { period }), ...(most && { [most]: String(limit) }) }).toString();
  return `v1/people/${encodeURIComponent(analysis)}${query && `?${query}`}`;
}

export interface PolledStanding {
  freshness: Freshness;
  ageMs: number | null;
  /** How the source is, in the line's words or the answer's: whichever is worse. */
  source: SourceState;
}

/** An answer as far as the processor itself, or nearly: what comes between is on its way. */
const AS_FAR_MS = 3 * POLL_MS;

/**
 * As old as what was counted, and no younger than the last answer: who does not answer keeps nothing current. What is as
 * far as the processor is no older than the latest event, however long that waits for such as come late.
 */
export function polledStanding({ answer, at }: Told, moment: Moment): PolledStanding {
  const asOf = answer?.asOf ?? null;
  const { lastEvent, watermark } = moment;
  const until = Math.max(asOf ?? 0, answer?.due ?? 0);
  const isAsFar = asOf !== null && watermark !== null && until >= watermark - AS_FAR_MS;
  const known = asOf === null || at === null ? null : Math.min(at, isAsFar ? Math.max(asOf, lastEvent ?? asOf) : asOf);
  const ageMs = known === null ? null : Math.max(0, moment.now - known);
  const freshness = freshnessOf({ ageMs, expectedMs: POLL_MS, countsEvents: false }, moment);
  const isAway = answer !== null && answer.state !== "live" && freshness !== "lost" && moment.line !== "connecting";
  if (!isAway || moment.line === "source_down") return { freshness, ageMs, source: moment.source };
  return { freshness: "source_down", ageMs, source: answer.state };
}
