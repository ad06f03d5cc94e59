/**
 * Who is let through to the wall, and when somebody has to say anew who they are. It decides; what asks the server, and
 * timers, are passed in.
 */

import { may, type Session } from "./session";

export type Gate =
  /** Nobody knows yet who looks. `problem`: why not, where that takes long. */
  | { state: "asking"; problem: string | null }
  | { state: "login"; session: Session; problem: string | null; busy: boolean }
  /** `turn` is another one for each who comes in: what one has seen is nothing to begin from for the next. */
  | { state: "open"; session: Session; turn: number };

export interface GateSurroundings {
  session(): Promise<Session>;
  logIn(key: string): Promise<void>;
  logOut(): Promise<void>;
  /** Whether an error says that the server took it and refused, and not that it was away. */
  refused(error: unknown): boolean;
  now(): number;
  later(delayMs: number, act: () => void): () => void;
  changed(gate: Gate): void;
}

const RETRY_MS = 3_000;
/** A tile that may not ask again and again does not make the wall ask as often who looks. */
export const LOOK_EVERY_MS = 10_000;
const ENDED = "Signed out: the login or key has ended. Sign in again to see numbers.";

export class Gatekeeper {
  #gate: Gate = { state: "asking", problem: null };
  #turn = 0;
  #lookedAt = -Infinity;
  #cancel: () => void = () => {};
  #stopped = false;

  constructor(private readonly around: GateSurroundings) {}

  get gate(): Gate {
    return this.#gate;
  }

  /** `key`: one that came with the address. */
  start(key: string | null): void {
    if (key === null) void this.#ask(null);
    else void this.#begin(key);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  /** Somebody typed a key. */
  async logIn(key: string): Promise<void> {
    if (this.#gate.state !== "login" || this.#gate.busy) return;
    const { session } = this.#gate;
    this.#say({ state: "login", session, problem: null, busy: true });
    try {
      await this.around.logIn(key);
    } catch (error) {
      this.#say({ state: "login", session, problem: said(error), busy: false });
      return;
    }
    await this.#ask("This key may not see numbers.");
  }

  async logOut(): Promise<void> {
    try {
      await this.around.logOut();
    } finally {
      await this.#ask(null);
    }
  }

  /**
   * The server has refused something. Whoever looks may be nobody by now; where they still are who they were, and the
   * line has not `ended`, the wall goes on.
   */
  async doubt(ended: boolean): Promise<void> {
    const now = this.around.now();
    if (this.#gate.state !== "open" || (!ended && now - this.#lookedAt < LOOK_EVERY_MS)) return;
    this.#lookedAt = now;
    const { turn } = this.#gate;
    const session = await this.around.session().catch(() => null);
    if (this.#stopped || this.#gate.state !== "open" || this.#gate.turn !== turn) return;
    if (session === null) {
      if (ended) this.#again(() => void this.doubt(true));
    } else if (!may(session, "view_numbers")) {
      this.#say({ state: "login", session, problem: ENDED, busy: false });
    } else if (session.digest !== this.#gate.session.digest) {
      this.#open(session);
    } else if (ended) {
      this.#again(() => this.#open(session));
    }
  }

  /** A key from the address, which nobody could type again: it is tried until the server has said yes or no. */
  async #begin(key: string): Promise<void> {
    try {
      await this.around.logIn(key);
    } catch (error) {
      if (this.#stopped) return;
      if (this.around.refused(error)) {
        await this.#ask(said(error), true);
        return;
      }
      this.#say({ state: "asking", problem: said(error) });
      this.#again(() => void this.#begin(key));
      return;
    }
    await this.#ask("This key may not see numbers.");
  }

  /** `problem`: what to say to those who may not come in; `always` even if they may as they are. */
  async #ask(problem: string | null, always = false): Promise<void> {
    try {
      const session = await this.around.session();
      if (this.#stopped) return;
      if (may(session, "view_numbers") && !always) this.#open(session);
      else this.#say({ state: "login", session, problem, busy: false });
    } catch (error) {
      if (this.#stopped) return;
      this.#say({ state: "asking", problem: said(error) });
      this.#again(() => void this.#ask(problem, always));
    }
  }

  #open(session: Session): void {
    this.#turn += 1;
    this.#say({ state: "open", session, turn: this.#turn });
  }

  #again(act: () => void): void {
    this.#cancel();
    this.#cancel = this.around.later(RETRY_MS, act);
  }

  #say(gate: Gate): void {
    if (this.#stopped) return;
    this.#gate = gate;
    this.around.changed(gate);
  }
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
