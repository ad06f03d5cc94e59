/**
 * When the page loads itself again: the server asked, or gives out another page by now. A fleet does not do it as one,
 * and no screen does it while the server is away, as an error page of the browser would stay for ever.
 */

export interface ReloadSurroundings {
  now(): number;
  random(): number;
  later(delayMs: number, act: () => void): () => void;
  /** Whether the server gives out the page at this moment. */
  answers(): Promise<boolean>;
  reload(): void;
  /** When this tab last loaded itself again, epoch ms; survives doing so. */
  last: number | null;
}

/** For a page that has become another. */
export const NEW_PAGE_WITHIN_MS = 30_000;
/** A server that says "reload" again and again must not make the wall flicker. */
export const AT_MOST_EVERY_MS = 60_000;
const DEFAULT_WITHIN_MS = 10_000;
const TRY_AGAIN_MS = 5_000;

export class Reload {
  #wall: string | null = null;
  #cancel: (() => void) | null = null;

  constructor(private readonly around: ReloadSurroundings) {}

  get isComing(): boolean {
    return this.#cancel !== null;
  }

  /** The digest of the page that the server gives out. The first one is taken for this page's own. */
  welcomed(wall: string | null): void {
    if (wall === null) return;
    if (this.#wall === null) this.#wall = wall;
    else if (this.#wall !== wall) this.ask(NEW_PAGE_WITHIN_MS);
  }

  /** Loads the page again at a random moment within that time. What was asked for before stands. */
  ask(withinMs: number | null): void {
    if (this.#cancel !== null) return;
    const sinceLast = this.around.last === null ? Infinity : this.around.now() - this.around.last;
    // A clock that was set back must not put it off for longer.
    const least = sinceLast >= 0 && sinceLast < AT_MOST_EVERY_MS ? AT_MOST_EVERY_MS - sinceLast : 0;
    this.#in(least + this.around.random() * Math.max(0, withinMs ?? DEFAULT_WITHIN_MS));
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #in(delayMs: number): void {
    const cancel = this.around.later(delayMs, () => {
      void this.around.answers().then((answers) => {
        if (this.#cancel !== cancel) return;
        if (!answers) {
          this.#in(TRY_AGAIN_MS * (1 + this.around.random()));
          return;
        }
        this.around.last = this.around.now();
        this.around.reload();
      });
    });
    this.#cancel = cancel;
  }
}

const REMEMBERED = "streamgauge.reloaded";

/** The real surroundings. `page` is what has to be there before this one is left. */
export function browserReload(page: () => string): ReloadSurroundings {
  return {
    now: () => Date.now(),
    random: Math.random,
    later(delayMs, act) {
      const timer = setTimeout(act, delayMs);
      return () => clearTimeout(timer);
    },
    async answers() {
      try {
        const response = await fetch(page(), { cache: "no-store", signal: AbortSignal.timeout(TRY_AGAIN_MS) });
        await response.body?.cancel();
        return response.ok;
      } catch {
        return false;
      }
    },
    reload: () => location.reload(),
    get last() {
      const text = sessionStorage.getItem(REMEMBERED);
      return text === null ? null : Number(text);
    },
    set last(at) {
      if (at !== null) sessionStorage.setItem(REMEMBERED, String(at));
    },
  };
}
