/**
 * Keeps one line to the hub, for weeks. It decides when to open, give up, wait and try again; sockets, timers, the clock
 * and chance are passed in, so that every decision can be tested without any of them.
 */

import { helloMessage, parseMessage, refreshMessage, topicsMessage, type ServerMessage } from "./protocol";

export interface Ticket {
  token: string;
  /** How long the line lasts that it opens or refreshes. */
  lineMs: number;
}

export type Line =
  | { state: "connecting" }
  | { state: "live" }
  /** `since`: when the last message came, or when the first attempt began. `retryAt` is null while an attempt is under way. */
  | { state: "lost"; since: number; retryAt: number | null; reason: string }
  /** The server said not to come back. Only a person can change that. `code`: with which close code. */
  | { state: "refused"; since: number; reason: string; code: number };

export interface SocketEvents {
  opened(): void;
  received(text: string): void;
  closed(code: number, reason: string): void;
}

export interface Socket {
  send(text: string): void;
  close(): void;
}

export interface Surroundings {
  /** Starts to open a socket. May throw, which counts as a failed attempt. */
  open(events: SocketEvents): Socket;
  /** What says whose the line is, for one hello or refresh; left out where nobody has to say. */
  ticket?: () => Promise<Ticket>;
  /** Epoch ms. May jump: machines sleep, and clocks are set. */
  now(): number;
  /** Calls `act` once after `delayMs`; returns what cancels it. */
  later(delayMs: number, act: () => void): () => void;
  /** Evenly from [0, 1). */
  random(): number;
}

export interface Listener {
  line(line: Line): void;
  message(message: ServerMessage): void;
}

/** However the dice fall: a server that refuses at once is not to be asked in a loop. */
export const LEAST_DELAY_MS = 200;
export const FIRST_CEILING_MS = 500;
export const LAST_CEILING_MS = 20_000;
/** From the first packet to the snapshot. */
export const OPEN_LIMIT_MS = 10_000;
export const MISSED_HEARTBEATS = 3;
/** Whoever the line is of may not see numbers. */
export const UNAUTHORIZED = 4503;
/** After so much of its time a line is refreshed; where that fails, again after so much. */
const REFRESH_AT = 0.7;
const REFRESH_AGAIN = 0.1;
const LEAST_REFRESH_MS = 500;
/** A line that held this long starts again with the shortest back-off when it breaks. */
const STEADY_MS = 5_000;

/**
 * Full jitter: anywhere from nearly nothing to a ceiling that grows, so that a thousand walls do not come back as one. It grows
 * by half and not to the double, or a restart of ten seconds would leave a wall dark for twenty more.
 */
export function backoffMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(LAST_CEILING_MS, FIRST_CEILING_MS * 1.5 ** Math.min(attempt, 16));
  return LEAST_DELAY_MS + random() * (ceiling - LEAST_DELAY_MS);
}

/** Close codes carry the decision: 3500–3999 and 4500–4999 mean that trying again would change nothing. */
export function mayReconnect(code: number): boolean {
  return !((code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999));
}

export class Connection {
  #line: Line = { state: "connecting" };
  #socket: Socket | null = null;
  /** Counts sockets, so that what an abandoned one still says is ignored. */
  #turn = 0;
  #attempt = 0;
  #heartbeatMs: number | null = null;
  #limitMs = OPEN_LIMIT_MS;
  #heardAt: number;
  #liveSince: number | null = null;
  #retryInMs: number | null = null;
  #topics: readonly string[] = [];
  /** What this socket has been told; null before hello. */
  #told: readonly string[] | null = null;
  /** Of the latest `subscribe` that has not been answered yet: a snapshot before the answer does not have its topics. */
  #unanswered: number | null = null;
  #requests = 0;
  #epoch: string | null = null;
  #seq: number | null = null;
  /** The topics of which everything up to `#seq` is known; null when there are none. */
  #covered: readonly string[] | null = null;
  #resuming = false;
  #cancelDeadline: () => void = () => {};
  #cancelRetry: () => void = () => {};
  #cancelRefresh: () => void = () => {};
  /** How long the line lasts, of the latest ticket. */
  #lineMs: number | null = null;
  /** Of the latest `refresh`, while it is not answered. */
  #refreshing: number | null = null;

  constructor(
    private readonly around: Surroundings,
    private readonly listener: Listener,
  ) {
    this.#heardAt = around.now();
  }

  get line(): Line {
    return this.#line;
  }

  start(): void {
    this.#open();
  }

  /** For good. */
  stop(): void {
    this.#abandon();
  }

  /** What to hear of. Takes effect at once on an open line, with a snapshot if there is more than before. */
  setTopics(topics: readonly string[]): void {
    this.#topics = topics;
    if (this.#socket === null || this.#told === null) return;
    const gone = without(this.#told, topics);
    const come = without(topics, this.#told);
    this.#told = topics;
    if (gone.length > 0) {
      this.#covered = this.#covered && without(this.#covered, gone);
      this.#socket.send(topicsMessage("unsubscribe", ++this.#requests, gone));
    }
    if (come.length > 0) {
      this.#unanswered = ++this.#requests;
      this.#covered = null;
      this.#socket.send(topicsMessage("subscribe", this.#unanswered, come));
    }
  }

  /** `epoch:seq` to go on from, when everything up to there is known of all topics. */
  get resumeFrom(): string | null {
    if (this.#epoch === null || this.#seq === null || this.#covered === null) return null;
    return without(this.#topics, this.#covered).length > 0 ? null : `${this.#epoch}:${this.#seq}`;
  }

  /** The page is looked at again, or the network is back: do not wait for a timer to find out. */
  check(): void {
    if (this.#line.state === "refused") return;
    if (this.#socket === null) {
      this.#cancelRetry();
      this.#open();
    } else if (this.#silentMs() >= this.#limitMs) {
      this.#lose("no word from the server");
    } else if (this.#heartbeatMs !== null) {
      // The next heartbeat is due within one interval; a line that died unnoticed will not bring it.
      this.#expectWithin(this.#heartbeatMs * 1.2);
    }
  }

  #open(): void {
    const turn = ++this.#turn;
    const current = (act: () => void) => () => {
      if (turn === this.#turn) act();
    };
    this.#heardAt = this.around.now();
    this.#limitMs = OPEN_LIMIT_MS;
    this.#heartbeatMs = null;
    this.#liveSince = null;
    this.#retryInMs = null;
    this.#told = null;
    this.#unanswered = null;
    if (this.#line.state === "lost") this.#say({ ...this.#line, retryAt: null });
    try {
      this.#socket = this.around.open({
        opened: current(() => this.#hello()),
        received: (text) => current(() => this.#received(text))(),
        closed: (code, reason) => current(() => this.#closed(code, reason))(),
      });
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#expectWithin(OPEN_LIMIT_MS);
  }

  #hello(): void {
    if (this.around.ticket === undefined) this.#sayHello(null);
    else this.#withTicket((ticket) => this.#sayHello(ticket), (reason) => this.#lose(reason));
  }

  #sayHello(ticket: Ticket | null): void {
    const resume = this.resumeFrom;
    this.#resuming = resume !== null;
    this.#told = this.#topics;
    this.#lineMs = ticket?.lineMs ?? null;
    this.#socket?.send(helloMessage(this.#topics, resume, ticket?.token));
  }

  #withTicket(use: (ticket: Ticket) => void, failed: (reason: string) => void): void {
    const turn = this.#turn;
    void this.around.ticket!().then(
      (ticket) => turn === this.#turn && use(ticket),
      (error: unknown) => turn === this.#turn && failed(error instanceof Error ? error.message : String(error)),
    );
  }

  /** Asks for another ticket in time, as the line ends with the time of its own. */
  #refreshAfter(share: number): void {
    this.#cancelRefresh();
    if (this.#lineMs === null) return;
    this.#cancelRefresh = this.around.later(Math.max(LEAST_REFRESH_MS, this.#lineMs * share), () =>
      this.#withTicket(
        ({ token, lineMs }) => {
          this.#lineMs = lineMs;
          this.#refreshing = ++this.#requests;
          this.#socket?.send(refreshMessage(this.#refreshing, token));
          // Unless the answer comes first.
          this.#refreshAfter(REFRESH_AGAIN);
        },
        () => this.#refreshAfter(REFRESH_AGAIN),
      ),
    );
  }

  #received(text: string): void {
    const now = this.around.now();
    this.#heardAt = now;
    const message = parseMessage(text);
    const isLive = message !== null && this.#takeIn(message, now);
    // Until the line is live its deadline stands: a server that says much and never sends a snapshot is of no use.
    if (this.#liveSince !== null) this.#expectWithin(this.#limitMs);
    // The listener has the snapshot before it hears that the line is live, so it never shows old numbers as current.
    if (message !== null) this.listener.message(message);
    if (isLive) this.#say({ state: "live" });
  }

  /** What a message says about the line itself. True if with it the line has become live. */
  #takeIn(message: ServerMessage, now: number): boolean {
    switch (message.op) {
      case "welcome":
        this.#heartbeatMs = message.heartbeatS * 1000;
        this.#refreshAfter(REFRESH_AT);
        if (this.#epoch !== message.epoch) this.#forget();
        this.#epoch = message.epoch;
        if (!message.resumed) return false;
        break;
      case "snapshot":
        if (message.epoch !== null) this.#epoch = message.epoch;
        this.#seq = message.seq;
        this.#covered = this.#unanswered === null ? this.#told : null;
        break;
      case "update":
        if (message.seq !== null) this.#seq = message.seq;
        // After a hello that resumes, an update instead of a snapshot says that nothing else was missed.
        if (this.#liveSince !== null || !this.#resuming) return false;
        break;
      case "ok":
        if (message.id === this.#unanswered) this.#unanswered = null;
        if (message.id !== null && message.id === this.#refreshing) {
          this.#refreshing = null;
          this.#refreshAfter(REFRESH_AT);
        }
        return false;
      case "bye":
        this.#retryInMs = message.retryInMs;
        return false;
      default:
        return false;
    }
    const wasLive = this.#liveSince !== null;
    this.#liveSince ??= now;
    this.#resuming = false;
    this.#limitMs = MISSED_HEARTBEATS * (this.#heartbeatMs ?? OPEN_LIMIT_MS);
    return !wasLive;
  }

  /** Another epoch numbers anew. */
  #forget(): void {
    this.#seq = null;
    this.#covered = null;
  }

  #closed(code: number, reason: string): void {
    const why = reason === "" ? `closed with code ${code}` : `${reason} (code ${code})`;
    if (mayReconnect(code)) {
      this.#lose(why);
      return;
    }
    this.#abandon();
    this.#say({ state: "refused", since: this.around.now(), reason: why, code });
  }

  #lose(reason: string): void {
    const now = this.around.now();
    const before = this.#line;
    if (this.#liveSince !== null && now - this.#liveSince >= STEADY_MS) this.#attempt = 0;
    const told = this.#retryInMs;
    const since = before.state === "lost" ? before.since : this.#heardAt;
    this.#abandon();
    const delay = told !== null && told >= 0 ? Math.max(told, LEAST_DELAY_MS) : backoffMs(this.#attempt, this.around.random);
    this.#attempt += 1;
    this.#cancelRetry = this.around.later(delay, () => this.#open());
    this.#say({ state: "lost", since, retryAt: now + delay, reason });
  }

  /** Leaves the socket at once: the closing handshake of a dead line takes minutes, and nobody is to wait for it. */
  #abandon(): void {
    this.#turn += 1;
    this.#cancelDeadline();
    this.#cancelRetry();
    this.#cancelRefresh();
    this.#refreshing = null;
    const socket = this.#socket;
    this.#socket = null;
    this.#told = null;
    socket?.close();
  }

  #expectWithin(delayMs: number): void {
    this.#cancelDeadline();
    this.#cancelDeadline = this.around.later(delayMs, () => this.#lose("no word from the server"));
  }

  #silentMs(): number {
    return Math.abs(this.around.now() - this.#heardAt);
  }

  #say(line: Line): void {
    this.#line = line;
    this.listener.line(line);
  }
}

function without(all: readonly string[], these: readonly string[]): string[] {
  return all.filter((one) => !these.includes(one));
}

/** The real surroundings: a WebSocket at `url`, the machine's clock and timers. `ticket` as there. */
export function browserSurroundings(url: string, ticket?: () => Promise<Ticket>): Surroundings {
  return {
    ...(ticket !== undefined && { ticket }),
    open(events) {
      const socket = new WebSocket(url);
      socket.onopen = () => events.opened();
      socket.onmessage = ({ data }) => {
        if (typeof data === "string") events.received(data);
      };
      socket.onclose = ({ code, reason }) => events.closed(code, reason);
      return socket;
    },
    now: () => Date.now(),
    later(delayMs, act) {
      const timer = setTimeout(act, delayMs);
      return () => clearTimeout(timer);
    },
    random: Math.random,
  };
}
