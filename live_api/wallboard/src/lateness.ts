/** How far the processor is behind: by what waits in the streams, or by a watermark that something holds back. */

import type { System } from "./protocol";

/** A watermark moves with every event. One that stands while events move on by so much is held back. */
const HELD_MS = 30_000;

export class Lateness {
  #watermark: number | null = null;
  /** The latest event when the watermark last moved. */
  #eventThen: number | null = null;
  #behindMs: number | null = null;

  get behindMs(): number | null {
    return this.#behindMs;
  }

  heard(system: System): void {
    const event = lastEventOf(system);
    if (system.watermarkMs !== this.#watermark || this.#eventThen === null) {
      this.#watermark = system.watermarkMs;
      this.#eventThen = event;
    }
    const heldMs = this.#watermark === null || event === null || this.#eventThen === null ? 0 : event - this.#eventThen;
    const backlog = Object.values(system.streams).map(({ caughtUp, lagMs }) => (caughtUp ? 0 : (lagMs ?? 0)));
    const behind = Math.max(0, ...backlog, heldMs >= HELD_MS ? heldMs : 0);
    this.#behindMs = behind > 0 ? behind : null;
  }
}

export function lastEventOf(system: System | null): number | null {
  const seen = Object.values(system?.streams ?? {}).flatMap(({ maxEventMs }) => maxEventMs ?? []);
  return seen.length > 0 ? Math.max(...seen) : null;
}
