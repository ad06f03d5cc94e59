import { beforeEach, describe, expect, it } from "vitest";
import {
  backoffMs,
  Connection,
  LEAST_DELAY_MS,
  mayReconnect,
  OPEN_LIMIT_MS,
  type Line,
  type SocketEvents,
  type Surroundings,
} from "../src/connection";
import type { ServerMessage } from "../src/protocol";

/** A world with its own clock: timers run when `advance` reaches them, and sockets do what the test says. */
class World implements Surroundings {
  time = 1_000_000;
  chance = 0.5;
  refuseToOpen = false;
  sockets: { events: SocketEvents; sent: string[]; closed: boolean }[] = [];
  #timers: { at: number; act: () => void }[] = [];

  open(events: SocketEvents) {
    if (this.refuseToOpen) throw new Error("no such host");
    const socket = { events, sent: [] as string[], closed: false };
    this.sockets.push(socket);
    return { send: (text: string) => socket.sent.push(text), close: () => (socket.closed = true) };
  }

  now = () => this.time;
  random = () => this.chance;

  later(delayMs: number, act: () => void) {
    const timer = { at: this.time + delayMs, act };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((one) => one !== timer));
  }

  advance(ms: number): void {
    const until = this.time + ms;
    for (;;) {
      const next = this.#timers.filter((one) => one.at <= until).sort((one, other) => one.at - other.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((one) => one !== next);
      this.time = Math.max(this.time, next.at);
      next.act();
    }
    this.time = until;
  }

  get socket() {
    return this.sockets.at(-1)!;
  }

  get timers(): number {
    return this.#timers.length;
  }
}

const WELCOME = JSON.stringify({ op: "welcome", epoch: "a1", tick_ms: 100, heartbeat_s: 5, version: "0.1.0" });
const SNAPSHOT = JSON.stringify({ op: "snapshot", seq: 1, t: 1, series: {} });
const HEARTBEAT = JSON.stringify({ op: "heartbeat", seq: 1, t: 1 });

let world: World;
let connection: Connection;
let lines: Line[];
let messages: ServerMessage[];

const states = () => lines.map((line) => line.state);
const goLive = () => {
  world.socket.events.opened();
  world.socket.events.received(WELCOME);
  world.socket.events.received(SNAPSHOT);
};

beforeEach(() => {
  world = new World();
  lines = [];
  messages = [];
  connection = new Connection(world, { line: (line) => lines.push(line), message: (message) => messages.push(message) });
  connection.setTopics(["board:ops", "system"]);
  connection.start();
});

describe("back-off", () => {
  it("is spread over everything below a ceiling that grows from half a second to twenty", () => {
    const most = Array.from({ length: 12 }, (_, attempt) => backoffMs(attempt, () => 1));
    expect(most.slice(0, 4)).toEqual([500, 750, 1125, 1687.5]);
    expect(most.slice(-2)).toEqual([20_000, 20_000]);
    expect(backoffMs(3, () => 0)).toBe(LEAST_DELAY_MS);
    expect(backoffMs(10_000, () => 0.5)).toBe(10_100);
  });

  it("grows while attempts fail, and starts again after a line that held", () => {
    const delays: number[] = [];
    const lose = () => {
      world.socket.events.closed(1006, "");
      const line = lines.at(-1);
      if (line?.state !== "lost" || line.retryAt === null) throw new Error("expected a lost line with a retry");
      delays.push(line.retryAt - world.time);
      world.advance(line.retryAt - world.time);
    };
    lose();
    lose();
    lose();
    goLive();
    world.advance(100);
    lose(); // it was up for a moment only
    goLive();
    world.advance(6_000);
    lose();
    expect(delays).toEqual([350, 475, 662.5, 943.75, 350]);
  });

  it("gives way to the server's own delay, once", () => {
    goLive();
    world.socket.events.received(JSON.stringify({ op: "bye", retry_in_ms: 7300 }));
    world.socket.events.closed(1012, "restart");
    expect(lines.at(-1)).toMatchObject({ state: "lost", retryAt: world.time + 7300 });
    world.advance(7299);
    expect(world.sockets).toHaveLength(1);
    world.advance(1);
    expect(world.sockets).toHaveLength(2);
    world.socket.events.closed(1006, "");
    expect(lines.at(-1)).toMatchObject({ state: "lost", retryAt: world.time + 475 });
  });

  it("also follows an attempt that cannot even begin", () => {
    world.refuseToOpen = true;
    world.socket.events.closed(1006, "");
    world.advance(350);
    expect(lines.at(-1)).toMatchObject({ state: "lost", reason: "no such host" });
    world.refuseToOpen = false;
    world.advance(500);
    goLive();
    expect(connection.line.state).toBe("live");
  });
});

describe("close codes", () => {
  it.each([1000, 1001, 1006, 1011, 1012, 3000, 3499, 4000, 4499])("%i may come back", (code) => {
    expect(mayReconnect(code)).toBe(true);
  });

  it.each([3500, 3999, 4500, 4999])("%i may not, and the line says why", (code) => {
    expect(mayReconnect(code)).toBe(false);
    goLive();
    world.socket.events.closed(code, "no such board");
    expect(lines.at(-1)).toMatchObject({ state: "refused", reason: `no such board (code ${code})` });
    world.advance(3_600_000);
    connection.check();
    expect(world.sockets).toHaveLength(1);
    expect(world.timers).toBe(0);
  });
});

describe("the line", () => {
  it("says hello and is live with the snapshot, not before", () => {
    world.socket.events.opened();
    expect(JSON.parse(world.socket.sent[0]!)).toEqual({ op: "hello", topics: ["board:ops", "system"] });
    world.socket.events.received(WELCOME);
    expect(connection.line.state).toBe("connecting");
    world.socket.events.received(SNAPSHOT);
    expect(states()).toEqual(["live"]);
    expect(messages.map((message) => message.op)).toEqual(["welcome", "snapshot"]);
  });

  it("is lost the moment the socket closes, since the last word", () => {
    goLive();
    const last = world.time;
    world.advance(1200);
    world.socket.events.closed(1001, "");
    expect(lines.at(-1)).toMatchObject({ state: "lost", since: last });
  });

  it("stays lost since then through failed attempts, and comes back by itself", () => {
    goLive();
    const last = world.time;
    world.socket.events.closed(1006, "");
    const untilRetry = () => {
      const line = connection.line;
      world.advance(line.state === "lost" && line.retryAt !== null ? line.retryAt - world.time : 0);
    };
    for (let attempt = 0; attempt < 5; attempt += 1) {
      untilRetry();
      expect(lines.at(-1)).toMatchObject({ state: "lost", since: last, retryAt: null });
      world.socket.events.closed(1006, "");
      expect(lines.at(-1)).toMatchObject({ state: "lost", since: last });
    }
    untilRetry();
    goLive();
    expect(connection.line).toEqual({ state: "live" });
  });

  it("is dead after three heartbeats without a word", () => {
    goLive();
    for (let beat = 0; beat < 10; beat += 1) {
      world.advance(5_000);
      world.socket.events.received(HEARTBEAT);
    }
    world.advance(14_999);
    expect(connection.line.state).toBe("live");
    world.advance(1);
    expect(lines.at(-1)).toMatchObject({ state: "lost", reason: "no word from the server" });
    expect(world.socket.closed).toBe(true);
  });

  it("does not wait for ever for a server that accepts and says nothing", () => {
    world.socket.events.opened();
    world.advance(OPEN_LIMIT_MS);
    expect(connection.line.state).toBe("lost");
  });

  it("does not wait for ever for a server that says much and never sends a snapshot", () => {
    world.socket.events.opened();
    world.socket.events.received(WELCOME);
    for (let second = 0; second < 10; second += 1) {
      world.advance(1_000);
      world.socket.events.received(HEARTBEAT);
    }
    expect(connection.line.state).toBe("lost");
  });

  it("does not listen to a socket it has left", () => {
    goLive();
    const left = world.socket;
    world.advance(15_000);
    world.advance(350);
    goLive();
    const heard = messages.length;
    left.events.received(HEARTBEAT);
    left.events.closed(4500, "late");
    expect(messages).toHaveLength(heard);
    expect(connection.line.state).toBe("live");
  });

  it("survives messages that are not of the protocol", () => {
    goLive();
    for (const text of ["", "null", "[]", "{", '{"op":"dance"}', '{"op":"update"}']) world.socket.events.received(text);
    expect(connection.line.state).toBe("live");
  });
});

describe("a look at the line", () => {
  it("tries at once when it was waiting to try", () => {
    goLive();
    world.socket.events.closed(1012, "");
    connection.check();
    expect(world.sockets).toHaveLength(2);
    goLive();
    world.advance(4_000);
    expect(world.sockets).toHaveLength(2);
    expect(connection.line.state).toBe("live");
  });

  it("finds a line that died while the machine slept", () => {
    goLive();
    world.time += 3_600_000; // no timer ran
    connection.check();
    expect(connection.line.state).toBe("lost");
  });

  it("asks for the next heartbeat in time", () => {
    goLive();
    world.advance(1_000);
    connection.check();
    world.advance(6_000);
    expect(connection.line.state).toBe("lost");
  });

  it("leaves a good line and a running attempt alone", () => {
    connection.check();
    expect(world.sockets).toHaveLength(1);
    goLive();
    connection.check();
    world.advance(4_000);
    world.socket.events.received(HEARTBEAT);
    world.advance(10_000);
    expect(connection.line.state).toBe("live");
    expect(world.sockets).toHaveLength(1);
  });
});

describe("going on where it was", () => {
  const said = (index: number): unknown => JSON.parse(world.socket.sent[index]!);
  const frame = (op: string, seq: number, over: object = {}) => JSON.stringify({ op, seq, t: seq, series: {}, ...over });
  const comeBack = () => {
    world.socket.events.closed(1006, "");
    connection.check();
    world.socket.events.opened();
    return said(0);
  };
  const welcome = (over: object) => world.socket.events.received(JSON.stringify({ ...JSON.parse(WELCOME), ...over }));

  it("names the last frame it had, and is live at once when nothing is missing", () => {
    goLive();
    world.socket.events.received(frame("update", 17));
    expect(comeBack()).toEqual({ op: "hello", topics: ["board:ops", "system"], resume: "a1:17" });
    expect(connection.line.state).toBe("lost");
    welcome({ resumed: true });
    expect(connection.line.state).toBe("live");
    world.advance(14_999);
    expect(connection.line.state).toBe("live");
    world.advance(1);
    expect(connection.line.state).toBe("lost");
  });

  it("waits for the snapshot when it is not resumed", () => {
    goLive();
    comeBack();
    welcome({ resumed: false, epoch: "b2" });
    expect(connection.line.state).toBe("lost");
    world.socket.events.received(frame("snapshot", 3, { epoch: "b2" }));
    expect(connection.line.state).toBe("live");
    expect(connection.resumeFrom).toBe("b2:3");
  });

  it("takes an update as the first frame for a resume, as a server may not say it in the welcome", () => {
    goLive();
    comeBack();
    world.socket.events.received(WELCOME);
    world.socket.events.received(frame("update", 4));
    expect(connection.line.state).toBe("live");
  });

  it("goes with the epoch of the newest snapshot", () => {
    goLive();
    world.socket.events.received(frame("snapshot", 2, { epoch: "c3" }));
    world.socket.events.received(frame("update", 5));
    expect(comeBack()).toMatchObject({ resume: "c3:5" });
  });

  it("has nothing to resume from before the first snapshot", () => {
    world.socket.events.opened();
    world.socket.events.received(WELCOME);
    expect(comeBack()).toEqual({ op: "hello", topics: ["board:ops", "system"] });
  });

  it("is not live because of a second welcome's numbers of another epoch", () => {
    goLive();
    comeBack();
    welcome({ epoch: "b2" });
    world.socket.events.closed(1006, "");
    connection.check();
    world.socket.events.opened();
    expect(said(0)).not.toHaveProperty("resume");
  });
});

describe("topics", () => {
  const said = () => world.socket.sent.map((text) => JSON.parse(text) as Record<string, unknown>);
  const snapshot = (seq: number) => JSON.stringify({ op: "snapshot", seq, t: 1, series: {} });
  const ok = (id: number) => world.socket.events.received(JSON.stringify({ op: "ok", id }));

  it("that change are told to an open line: first what goes, then what comes", () => {
    goLive();
    connection.setTopics(["board:sales", "system"]);
    expect(said().slice(1)).toEqual([
      { op: "unsubscribe", id: 1, topics: ["board:ops"] },
      { op: "subscribe", id: 2, topics: ["board:sales"] },
    ]);
    connection.setTopics(["board:sales", "system"]);
    expect(said()).toHaveLength(3);
  });

  it("that came are known only after a snapshot that follows the answer", () => {
    goLive();
    connection.setTopics(["board:ops", "board:sales", "system"]);
    expect(connection.resumeFrom).toBeNull();
    world.socket.events.received(snapshot(5)); // was on its way before the server heard of it
    expect(connection.resumeFrom).toBeNull();
    ok(1);
    expect(connection.resumeFrom).toBeNull();
    world.socket.events.received(snapshot(6));
    expect(connection.resumeFrom).toBe("a1:6");
    expect(connection.line.state).toBe("live");
  });

  it("that went and come back while the line is lost are not taken for known", () => {
    goLive();
    connection.setTopics(["system"]);
    expect(connection.resumeFrom).toBe("a1:1");
    world.socket.events.closed(1006, "");
    connection.setTopics(["board:ops", "system"]);
    expect(connection.resumeFrom).toBeNull();
    connection.setTopics(["system"]);
    expect(connection.resumeFrom).toBe("a1:1");
  });

  it("are those of the hello when they are set before it", () => {
    connection.setTopics(["board:x"]);
    world.socket.events.opened();
    expect(said()).toEqual([{ op: "hello", topics: ["board:x"] }]);
  });
});

it("stops for good, and leaves no timer", () => {
  goLive();
  connection.stop();
  expect(world.socket.closed).toBe(true);
  expect(world.timers).toBe(0);
});

describe("whose a line is", () => {
  const LINE_MS = 100_000;
  let tickets: (string | Error)[];
  let asked: number;
  const settled = () => new Promise((done) => setTimeout(done));
  const said = () => world.socket.sent.map((text) => JSON.parse(text) as { op: string; id?: number; token?: string });

  const begin = async () => {
    connection.stop();
    asked = 0;
    const withTickets = Object.assign(world, {
      ticket: async () => {
        asked += 1;
        const next = tickets.shift();
        if (next === undefined || next instanceof Error) throw next ?? new Error("no more tickets");
        return { token: next, lineMs: LINE_MS };
      },
    });
    lines = [];
    connection = new Connection(withTickets, { line: (line) => lines.push(line), message: (message) => messages.push(message) });
    connection.setTopics(["system"]);
    connection.start();
    world.socket.events.opened();
    await settled();
  };
  const live = () => {
    world.socket.events.received(WELCOME);
    world.socket.events.received(SNAPSHOT);
  };
  /** Lets time pass, with a word from the server now and then. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 5_000) {
      world.advance(Math.min(5_000, left));
      world.socket.events.received(HEARTBEAT);
      await settled();
    }
  };

  it("is said with a ticket, another one for each line", async () => {
    tickets = ["one", "two"];
    await begin();
    expect(said()).toEqual([{ op: "hello", topics: ["system"], token: "one" }]);
    live();
    world.socket.events.closed(4004, "");
    world.advance(1_000);
    world.socket.events.opened();
    await settled();
    expect(said()[0]).toMatchObject({ op: "hello", token: "two" });
  });

  it("is said again before its time is over, and goes on", async () => {
    tickets = ["one", "two", "three"];
    await begin();
    live();
    await pass(LINE_MS * 0.65);
    expect(said()).toHaveLength(1);
    await pass(LINE_MS * 0.1);
    expect(said()[1]).toMatchObject({ op: "refresh", token: "two" });
    world.socket.events.received(JSON.stringify({ op: "ok", id: said()[1]!.id, until: "2026-05-20T12:30:00Z" }));
    await pass(LINE_MS * 0.65);
    expect(said()).toHaveLength(2);
    await pass(LINE_MS * 0.1);
    expect(said()[2]).toMatchObject({ op: "refresh", token: "three" });
    expect(states()).toEqual(["live"]);
  });

  it("is asked for again where a ticket could not be had", async () => {
    tickets = ["one", new Error("away"), "two"];
    await begin();
    live();
    await pass(LINE_MS * 0.75);
    expect([asked, said().length]).toEqual([2, 1]);
    await pass(LINE_MS * 0.1);
    expect(said()[1]).toMatchObject({ op: "refresh", token: "two" });
  });

  it("is no line without a ticket, and is tried again", async () => {
    tickets = [new Error("no ticket today"), "two"];
    await begin();
    expect(lines.at(-1)).toMatchObject({ state: "lost", reason: "no ticket today" });
    world.advance(1_000);
    world.socket.events.opened();
    await settled();
    expect(said()[0]).toMatchObject({ op: "hello", token: "two" });
  });

  it("is nothing to say for a line that is gone meanwhile", async () => {
    tickets = ["one"];
    connection.stop();
    let give: (ticket: { token: string; lineMs: number }) => void = () => {};
    const slow = Object.assign(world, { ticket: () => new Promise<{ token: string; lineMs: number }>((done) => (give = done)) });
    connection = new Connection(slow, { line: () => {}, message: () => {} });
    connection.start();
    const first = world.socket;
    first.events.opened();
    first.events.closed(1006, "");
    give({ token: "late", lineMs: LINE_MS });
    await settled();
    expect(first.sent).toEqual([]);
  });

  it("ends for good where whoever looks may see nothing", async () => {
    tickets = ["one"];
    await begin();
    world.socket.events.closed(4503, "unauthorized");
    expect(lines.at(-1)).toMatchObject({ state: "refused", code: 4503 });
    expect(world.timers).toBe(0);
  });
});
