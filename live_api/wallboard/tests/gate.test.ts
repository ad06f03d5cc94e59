import { beforeEach, describe, expect, it } from "vitest";
import { Gatekeeper, LOOK_EVERY_MS, type Gate } from "../src/gate";
import { parseSession, type Session } from "../src/session";

class Refusal extends Error {}

const NOBODY = parseSession({ name: "anonymous", permissions: [] });
const ADA = parseSession({ name: "key:ada", permissions: ["view_numbers"] });
const BOB = parseSession({ name: "key:bob", permissions: ["view_numbers"] });

let server: { session: Session | Error; keys: Map<string, Session>; away: boolean };
let waiting: (() => void)[];
let now: number;
let seen: Gate[];
let keeper: Gatekeeper;

const settled = () => new Promise((done) => setTimeout(done));
const tryAgain = async () => {
  waiting.splice(0).forEach((act) => act());
  await settled();
};

beforeEach(() => {
  server = { session: NOBODY, keys: new Map([["sg_ada", ADA], ["sg_bob", BOB]]), away: false };
  waiting = [];
  now = 0;
  seen = [];
  keeper = new Gatekeeper({
    session: async () => {
      if (server.away || server.session instanceof Error) throw new Error("away");
      return server.session;
    },
    logIn: async (key) => {
      if (server.away) throw new Error("away");
      const found = server.keys.get(key);
      if (found === undefined) throw new Refusal("no such key");
      server.session = found;
    },
    logOut: async () => void (server.session = NOBODY),
    refused: (error) => error instanceof Refusal,
    now: () => now,
    later: (_, act) => {
      waiting.push(act);
      return () => (waiting = waiting.filter((one) => one !== act));
    },
    changed: (gate) => seen.push(gate),
  });
});

const open = async (session: Session) => {
  server.session = session;
  keeper.start(null);
  await settled();
  expect(keeper.gate).toMatchObject({ state: "open", session });
};

describe("at first", () => {
  it("who may see numbers sees them, and who may not is asked who they are", async () => {
    keeper.start(null);
    await settled();
    expect(keeper.gate).toMatchObject({ state: "login", problem: null });
    await keeper.logIn("wrong");
    expect(keeper.gate).toMatchObject({ state: "login", problem: "no such key", busy: false });
    await keeper.logIn("sg_ada");
    expect(keeper.gate).toMatchObject({ state: "open", session: ADA });
  });

  it("a server that is away is asked again, and what is wrong is said", async () => {
    server.away = true;
    keeper.start(null);
    await settled();
    expect(keeper.gate).toEqual({ state: "asking", problem: "away" });
    server.away = false;
    server.session = ADA;
    await tryAgain();
    expect(keeper.gate).toMatchObject({ state: "open" });
  });

  it("a key of the address is tried until the server has said yes or no", async () => {
    server.away = true;
    keeper.start("sg_ada");
    await settled();
    await tryAgain();
    expect(keeper.gate.state).toBe("asking");
    server.away = false;
    await tryAgain();
    expect(keeper.gate).toMatchObject({ state: "open", session: ADA });
  });

  it("a bad key of the address is no way in, even where none is needed", async () => {
    server.session = parseSession({ name: "anonymous", permissions: ["view_numbers"] });
    keeper.start("wrong");
    await settled();
    expect(keeper.gate).toMatchObject({ state: "login", problem: "no such key" });
  });

  it("a key that may see no numbers is told so", async () => {
    server.keys.set("sg_track", parseSession({ name: "key:t", permissions: ["track"] }));
    keeper.start(null);
    await settled();
    await keeper.logIn("sg_track");
    expect(keeper.gate).toMatchObject({ state: "login", problem: "This key may not see numbers." });
  });
});

describe("later", () => {
  it("whose login has ended is asked who they are, in words", async () => {
    await open(ADA);
    server.session = NOBODY;
    await keeper.doubt(true);
    expect(keeper.gate).toMatchObject({ state: "login", problem: expect.stringContaining("has ended") });
  });

  it("one refusal of a tile does not end a wall, and many do not ask as often who looks", async () => {
    await open(ADA);
    now = LOOK_EVERY_MS;
    await keeper.doubt(false);
    server.session = NOBODY;
    now += LOOK_EVERY_MS - 1;
    await keeper.doubt(false);
    expect(keeper.gate.state).toBe("open");
    now += 1;
    await keeper.doubt(false);
    expect(keeper.gate.state).toBe("login");
  });

  it("whoever comes after somebody begins a wall of their own", async () => {
    await open(ADA);
    const turn = keeper.gate.state === "open" ? keeper.gate.turn : 0;
    server.session = BOB;
    await keeper.doubt(true);
    expect(keeper.gate).toEqual({ state: "open", session: BOB, turn: turn + 1 });
    await keeper.logOut();
    expect(keeper.gate).toMatchObject({ state: "login", problem: null });
  });

  it("a line that was ended for nothing that shows begins anew after a while", async () => {
    await open(ADA);
    await keeper.doubt(true);
    expect(keeper.gate).toMatchObject({ turn: 1 });
    await tryAgain();
    expect(keeper.gate).toMatchObject({ state: "open", turn: 2 });
  });

  it("a server that is away when somebody is in doubt is asked again", async () => {
    await open(ADA);
    server.away = true;
    await keeper.doubt(true);
    expect(keeper.gate.state).toBe("open");
    server.away = false;
    server.session = NOBODY;
    await tryAgain();
    expect(keeper.gate.state).toBe("login");
  });
});
