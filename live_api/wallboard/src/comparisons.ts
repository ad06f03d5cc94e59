/** What the numbers on the wall were at the same time yesterday: asked for each now and then, and set beside what they are. */

import type { Tile } from "./board";
import { COMPARED_FOR_MS, compareQuery, wantsYesterday, type Compared } from "./compare";
import { panelOf, type Panel } from "./panels";

const EVERY_MS = 60_000;
/** The first snapshot has not come yet. */
const SOON_MS = 2_000;

export interface ComparisonsSurroundings {
  tiles(): readonly Tile[];
  fetch(query: URLSearchParams): Promise<number | null>;
  /** The tile's value at this moment. */
  current(tile: Tile, panel: Panel): number | null;
  now(): number;
  random(): number;
  changed(): void;
}

export class Comparisons {
  /** By query; null where yesterday is not known. */
  readonly #found = new Map<string, { at: number; compared: Compared | null }>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;

  constructor(private readonly around: ComparisonsSurroundings) {}

  of(tile: Tile): Compared | undefined {
    const panel = panelOf(tile);
    if (panel === null || !wantsYesterday(tile)) return undefined;
    return this.#found.get(compareQuery(tile, panel).toString())?.compared ?? undefined;
  }

  /** Other tiles are shown: asks for those that are not known, and from then on for all, again and again. */
  ask(delayMs = 0): void {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(), delayMs);
  }

  stop(): void {
    this.#turn += 1;
    clearTimeout(this.#timer);
  }

  async #load(): Promise<void> {
    const turn = this.#turn;
    const { around } = this;
    let isEarly = false;
    for (const [key, one] of this.#found) if (around.now() - one.at > COMPARED_FOR_MS) this.#found.delete(key);
    for (const tile of around.tiles()) {
      const panel = panelOf(tile);
      if (panel === null || !wantsYesterday(tile)) continue;
      if (around.current(tile, panel) === null) {
        isEarly = true;
        continue;
      }
      const query = compareQuery(tile, panel);
      const known = this.#found.get(query.toString());
      if (known !== undefined && around.now() - known.at < EVERY_MS / 2) continue;
      const yesterday = await around.fetch(query).catch(() => null);
      if (turn !== this.#turn) return;
      const at = around.now();
      // What it is now is read beside the answer, so that a growing number is compared as of one moment.
      const now = around.current(tile, panel);
      this.#found.set(query.toString(), { at, compared: yesterday === null || now === null ? null : { now, yesterday, at } });
      around.changed();
    }
    // Spread, as walls that were started together would all ask together.
    this.ask(isEarly ? SOON_MS : EVERY_MS * (0.8 + 0.4 * around.random()));
  }
}
