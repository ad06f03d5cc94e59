/** What a screen reader is told: changes of state and nothing else, as a wall of numbers read aloud would never end. */

import type { Freshness } from "./freshness";
import { LOOKS, type Level } from "./threshold";

interface State {
  freshness: Freshness;
  level: Level;
}

/** Said one by one; of more at the same time only how many. */
const MOST_NAMED = 3;
const FRESHNESS_WORDS: Partial<Record<Freshness, string>> = { stale: "no data", late: "late", live: "live again" };

export class Announcer {
  readonly #states = new Map<string, State>();
  readonly #pending = new Map<string, string>();

  /** The state of a tile. The first one of each is how it opened, which is no change. */
  tile(id: string, title: string, state: State): void {
    const before = this.#states.get(id);
    // A level that cannot be told for a while is compared with the one there was before.
    this.#states.set(id, state.level === "none" && before !== undefined ? { ...state, level: before.level } : state);
    if (before === undefined) return;
    const said = changeText(before, state);
    if (said !== null) this.#pending.set(id, `${title}: ${said}`);
  }

  /** Another board stands there: its tiles open. */
  clear(): void {
    this.#states.clear();
    this.#pending.clear();
  }

  /** What has changed since the last call, or null. */
  take(): string | null {
    if (this.#pending.size === 0) return null;
    const all = [...this.#pending.values()];
    this.#pending.clear();
    if (all.length <= MOST_NAMED) return `${all.join(". ")}.`;
    return `${all.slice(0, MOST_NAMED).join(". ")}. And ${all.length - MOST_NAMED} more tiles have changed.`;
  }
}

/** A lost line and a source that is down change all tiles at once; the banner says so, and no tile repeats it. */
function changeText(before: State, after: State): string | null {
  if (after.level !== before.level && after.level !== "none" && before.level !== "none") return LOOKS[after.level].word;
  if (after.freshness === before.freshness) return null;
  if (after.freshness === "live" && before.freshness !== "stale" && before.freshness !== "late") return null;
  return FRESHNESS_WORDS[after.freshness] ?? null;
}
