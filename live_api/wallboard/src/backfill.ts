/** History first: asks the store for the last hour of every tile, and merges it under what has come live meanwhile. */

import type { Tile } from "./board";
import { windowMs, windowStart } from "./durations";
import { historyLength } from "./panels";
import type { History } from "./protocol";
import type { SeriesStore } from "./store";

/** Time for the first snapshot to arrive, so that history is asked for where the data is. */
const DELAY_MS = 150;
const RETRY_MS = 10_000;
/** Questions under way at once: a board of thirty tiles must not take the server from others. */
const AT_ONCE = 3;

export interface BackfillSurroundings {
  tiles(): readonly Tile[];
  fetch(metric: string, window: string, from: number, to: number): Promise<History>;
  /** Server time, and the time that a window without any point is looked for at. */
  now(): number;
  latest(): number;
  /** The store has changed. */
  filled(): void;
}

export class Backfill {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #underWay = false;
  #stopped = false;
  /** The server began anew, and its numbers are not those from before. */
  serverIsAnother = false;

  constructor(
    private readonly store: SeriesStore,
    private readonly around: BackfillSurroundings,
  ) {}

  ask(delayMs = DELAY_MS): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(), delayMs);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #load(): Promise<void> {
    if (this.#underWay) {
      this.ask();
      return;
    }
    this.#underWay = true;
    const era = this.store.era;
    const questions = questionsOf(this.around.tiles());
    let failed = false;
    const next = async (): Promise<void> => {
      for (let one = questions.shift(); one !== undefined; one = questions.shift()) {
        const { metric, window, width, count } = one;
        const last = windowStart(this.store.latestOf(metric, window) ?? this.around.latest(), width);
        const from = last - (count - 1) * width;
        const to = last + 2 * width;
        try {
          const found = await this.around.fetch(metric, window, from, to);
          // A snapshot that came meanwhile has asked again; an answer from before it would vouch for the wrong era.
          if (this.store.era !== era || this.#stopped) return;
          this.store.history(metric, window, found, from, to, this.around.now());
          this.around.filled();
        } catch {
          failed = true;
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, next));
      if (failed && this.store.era === era && !this.#stopped) {
        if (this.serverIsAnother) this.store.forgetUnconfirmed();
        this.ask(RETRY_MS);
      }
    } finally {
      this.#underWay = false;
    }
  }
}

interface Question {
  metric: string;
  window: string;
  width: number;
  count: number;
}

/** Each metric's window once, whatever number of tiles it stands on. */
function questionsOf(tiles: readonly Tile[]): Question[] {
  const questions = new Map<string, Question>();
  const ask = (one: Question): void => {
    const key = JSON.stringify([one.metric, one.window]);
    if (one.count > (questions.get(key)?.count ?? 0)) questions.set(key, one);
  };
  for (const tile of tiles) {
    if (tile.metric === null || tile.window === null) continue;
    const metric = tile.metric.name;
    const fine = tile.fine ?? tile.window;
    const fineMs = windowMs(fine);
    const mainMs = windowMs(tile.window);
    if (fineMs !== null) ask({ metric, window: fine, width: fineMs, count: historyLength(fineMs) });
    if (fineMs !== null && tile.forecast !== null) {
      ask({ metric: tile.forecast, window: fine, width: fineMs, count: historyLength(fineMs) });
    }
    if (mainMs !== null) ask({ metric, window: tile.window, width: mainMs, count: 2 });
  }
  return [...questions.values()];
}
