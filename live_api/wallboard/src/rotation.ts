/** Which board stands on the wall, and when the next takes its place. Time is passed in, ms of a clock that never jumps back. */

export class Rotation {
  #boards: readonly string[];
  #current: string;
  /** Time that the current board still has, as of `#asOf`. */
  #leftMs: number;
  #asOf: number;
  #held = false;

  /** `periodMs` null: boards change only when somebody says so. */
  constructor(
    boards: readonly string[],
    current: string,
    private readonly periodMs: number | null,
    now: number,
  ) {
    this.#boards = boards;
    this.#current = current;
    this.#leftMs = periodMs ?? Infinity;
    this.#asOf = now;
  }

  get boards(): readonly string[] {
    return this.#boards;
  }

  get current(): string {
    return this.#current;
  }

  get turns(): boolean {
    return this.periodMs !== null && this.#boards.length > 1;
  }

  /** Turns, but waits at present: an alert is firing, or somebody is looking closely. */
  get held(): boolean {
    return this.turns && this.#held;
  }

  /** Boards came or went. One that is gone from under the present board does not take it off the wall. */
  setBoards(boards: readonly string[]): void {
    this.#boards = boards;
  }

  /** Call it often. While `hold`, the board keeps the time it has left. Returns true when the board has changed. */
  tick(now: number, hold: boolean): boolean {
    const passed = Math.max(0, now - this.#asOf);
    this.#asOf = now;
    this.#held = hold;
    if (hold || !this.turns) return false;
    this.#leftMs -= passed;
    if (this.#leftMs > 0) return false;
    this.step(1, now);
    return true;
  }

  /** The next board or the one before, around the end. */
  step(by: 1 | -1, now: number): void {
    const count = this.#boards.length;
    if (count === 0) return;
    const at = this.#boards.indexOf(this.#current);
    const from = at < 0 && by < 0 ? 0 : at;
    this.show(this.#boards[(from + by + count) % count]!, now);
  }

  /** Whoever chose a board sees it for a whole turn. */
  show(board: string, now: number): void {
    this.#current = board;
    this.#leftMs = this.periodMs ?? Infinity;
    this.#asOf = now;
  }
}
