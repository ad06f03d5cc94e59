/** What people say about alerts: sent, and pending until the line tells what came of it. */

import type { Alert } from "./alerts";

export const ORDERS = ["ack", "silence", "resolve", "false_alarm"] as const;
export type Order = (typeof ORDERS)[number];

/** Answered by the server, it takes the processor a second or so. After this long something is wrong. */
export const PENDING_MS = 20_000;
/** An error is shown for so long. */
const PROBLEM_MS = 15_000;
/** The name that is asked for once. */
const NAME_KEY = "streamgauge.name";
export const MOST_NAME_CHARACTERS = 100;

export interface Answer {
  order: Order;
  at: number;
  /** Why it did not work; null while it is on its way. */
  problem: string | null;
}

export interface AnswersSurroundings {
  say(alert: string, order: Order, body: Readonly<Record<string, string>>): Promise<void>;
  now(): number;
  changed(): void;
  /** Who has logged in, and so says it; null or left out: it is to be said. */
  who?: string | null;
  /** Where the name is kept; null where a browser keeps nothing. */
  storage: Pick<Storage, "getItem" | "setItem"> | null;
}

/** Whether an order needs a reason: others will wonder why nobody was told, or why a threshold was raised. */
export function needsReason(order: Order): boolean {
  return order === "silence" || order === "false_alarm";
}

/** What is wrong before anything is sent; null where nothing is. */
export function missing(order: Order, name: string, reason: string): string | null {
  if (name.trim() === "") return "Your name, please: others see who it was.";
  if (needsReason(order) && reason.trim() === "") return "A reason, please: others will wonder.";
  return null;
}

export class Answers {
  readonly #answers = new Map<string, Answer & { before: Alert }>();
  /** Changes whenever an answer does. */
  version = 0;

  constructor(private readonly around: AnswersSurroundings) {}

  get who(): string | null {
    return this.around.who ?? null;
  }

  /** Who says so, as it was said last. */
  get name(): string {
    if (this.who !== null) return this.who;
    try {
      return this.around.storage?.getItem(NAME_KEY) ?? "";
    } catch {
      return "";
    }
  }

  of(id: string): Answer | undefined {
    return this.#answers.get(id);
  }

  /** `silenceFor` as the catalog spells durations: "4h". */
  async say(alert: Alert, order: Order, name: string, reason: string, silenceFor = ""): Promise<void> {
    const by = name.trim();
    if (this.who === null) this.#keepName(by);
    const answer = { order, at: this.around.now(), problem: null, before: alert };
    this.#set(alert.id, answer);
    const body: Record<string, string> = this.who === null ? { by } : {};
    if (reason.trim() !== "") body.reason = reason.trim();
    if (order === "silence") body.for = silenceFor;
    try {
      await this.around.say(alert.id, order, body);
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      if (this.#answers.get(alert.id) === answer) this.#set(alert.id, { ...answer, at: this.around.now(), problem: said });
    }
  }

  /** Call it now and then, with the alerts as they are: what has come about is pending no more. */
  look(get: (id: string) => Alert | undefined): void {
    const now = this.around.now();
    for (const [id, answer] of this.#answers) {
      const alert = get(id);
      if (answer.problem !== null) {
        if (now - answer.at > PROBLEM_MS) this.#set(id, null);
      } else if (alert === undefined || hasCome(answer, alert)) {
        this.#set(id, null);
      } else if (now - answer.at > PENDING_MS) {
        this.#set(id, { ...answer, at: now, problem: "Nothing came of it yet: the processor may be away." });
      }
    }
  }

  #keepName(name: string): void {
    try {
      this.around.storage?.setItem(NAME_KEY, name);
    } catch {
      // Then it is asked for again.
    }
  }

  #set(id: string, answer: (Answer & { before: Alert }) | null): void {
    if (answer === null) this.#answers.delete(id);
    else this.#answers.set(id, answer);
    this.version += 1;
    this.around.changed();
  }
}

function hasCome({ order, before }: Answer & { before: Alert }, alert: Alert): boolean {
  if (alert.status === "resolved") return true;
  if (order === "ack") return alert.status === "acknowledged" || alert.ackedBy !== before.ackedBy;
  return order === "silence" && alert.silencedUntil !== before.silencedUntil;
}

/** The browser's, which throws where it may keep nothing. */
export function browserStorage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
