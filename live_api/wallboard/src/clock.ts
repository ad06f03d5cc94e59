/**
 * Server time, from the `t` of its messages. A message can only be late, never early, so of the recent samples the one
 * that puts the server furthest ahead is nearest the truth; what is older than two spans is forgotten, because machines
 * sleep and clocks are set.
 */

const SPAN_MS = 10_000;

export class ServerClock {
  #spanStart = 0;
  #current: number | null = null;
  #former: number | null = null;

  heard(serverMs: number, localMs: number): void {
    const offset = serverMs - localMs;
    if (Math.abs(localMs - this.#spanStart) >= SPAN_MS) {
      this.#former = this.#current;
      this.#current = null;
      this.#spanStart = localMs;
    }
    this.#current = this.#current === null ? offset : Math.max(this.#current, offset);
  }

  /** What the server's clock shows when this machine's shows `localMs`; before the first message, the same. */
  at(localMs: number): number {
    if (this.#current === null) return localMs + (this.#former ?? 0);
    return localMs + (this.#former === null ? this.#current : Math.max(this.#current, this.#former));
  }
}
