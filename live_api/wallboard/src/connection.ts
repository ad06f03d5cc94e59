/**
 * Keeps one line to the hub, for weeks. It decides when to open, give up, wait and try again; sockets, timers, the clock
 * and chance are passed in, so that every decision can be tested without any of them.
 */

import { helloMessage, parseMessage, type ServerMessage } from "./protocol";

export type Line =
  | { state: "connecting" }
  | { state: "live" }
  /** `since`: when the last message came, or when the first attempt began. `retryAt` is null while an attempt is under way. */
  | { state: "lost"; since: number; retryAt: number | null; reason: string }
  /** The server said not to come back. Only a person can change that. */
  | { state: "refused"; since: number; reason: string };

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

export const FIRST_CEILING_MS = 500;
export const LAST_CEILING_MS = 20_000;
/** From the first packet to the snapshot. */
export const OPEN_LIMIT_MS = 10_000;
export const MISSED_HEARTBEATS = 3;
/** A line that held this long starts again with the shortest back-off when it breaks. */
const STEADY_MS = 5_000;

/**
 * Full jitter: anywhere from nothing to a ceiling that grows, so that a thousand walls do not come back as one. It grows
 * by half and not to the double, or a restart of ten seconds would leave a wall dark for twenty more.
 */
export function backoffMs(attempt: number, random: () => number): number {
  return random() * Math.min(LAST_CEILING_MS, FIRST_CEILING_MS * 1.5 ** Math.min(attempt, 16));
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
  #cancelDeadline: () => void = () => {};
  #cancelRetry: () => void = () => {};

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
    if (this.#line.state === "lost") this.#say({ ...this.#line, retryAt: null });
    try {
      this.#socket = this.around.open({
        opened: current(() => this.#socket?.send(helloMessage())),
        received: (text) => current(() => this.#received(text))(),
        closed: (code, reason) => current(() => this.#closed(code, reason))(),
      });
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#expectWithin(OPEN_LIMIT_MS);
  }

  #received(text: string): void {
    const now = this.around.now();
    this.#heardAt = now;
    const message = parseMessage(text);
    if (message?.op === "welcome") {
      this.#heartbeatMs = message.heartbeatS * 1000;
    } else if (message?.op === "bye") {
      this.#retryInMs = message.retryInMs;
    } else if (message?.op === "snapshot") {
      this.#limitMs = MISSED_HEARTBEATS * (this.#heartbeatMs ?? OPEN_LIMIT_MS);
      this.#liveSince = now;
    }
    this.#expectWithin(this.#limitMs);
    // The listener has the snapshot before it hears that the line is live, so it never shows old numbers as current.
    if (message !== null) this.listener.message(message);
    if (message?.op === "snapshot") this.#say({ state: "live" });
  }

  #closed(code: number, reason: string): void {
    const why = reason === "" ? `closed with code ${code}` : `${reason} (code ${code})`;
    if (mayReconnect(code)) {
      this.#lose(why);
      return;
    }
    this.#abandon();
    this.#say({ state: "refused", since: this.around.now(), reason: why });
  }

  #lose(reason: string): void {
    const now = this.around.now();
    const before = this.#line;
    if (this.#liveSince !== null && now - this.#liveSince >= STEADY_MS) this.#attempt = 0;
    const told = this.#retryInMs;
    const since = before.state === "lost" ? before.since : this.#heardAt;
    this.#abandon();
    const delay = told !== null && told >= 0 ? told : backoffMs(this.#attempt, this.around.random);
    this.#attempt += 1;
    this.#cancelRetry = this.around.later(delay, () => this.#open());
    this.#say({ state: "lost", since, retryAt: now + delay, reason });
  }

  /** Leaves the socket at once: the closing handshake of a dead line takes minutes, and nobody is to wait for it. */
  #abandon(): void {
    this.#turn += 1;
    this.#cancelDeadline();
    this.#cancelRetry();
    const socket = this.#socket;
    this.#socket = null;
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

/** The real surroundings: a WebSocket at `url`, the machine's clock and timers. */
export function browserSurroundings(url: string): Surroundings {
  return {
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
