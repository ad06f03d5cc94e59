import { beforeEach, describe, expect, it } from "vitest";
import { parseAlerts, type Alert } from "../src/alerts";
import { Answers, missing, PENDING_MS, type Order } from "../src/answers";
import { NOON } from "./sample";

function alert(over: object = {}): Alert {
  const sent = { a: { rule: "low", status: "firing", opened: NOON, ...over } };
  return parseAlerts(sent)!.get("a")!;
}

let now: number;
let said: [string, Order, Record<string, string>][];
let refuse: Error | null;
let kept: Map<string, string>;
let answers: Answers;

beforeEach(() => {
  now = NOON;
  said = [];
  refuse = null;
  kept = new Map();
  answers = new Answers({
    say: async (id, order, body) => {
      said.push([id, order, { ...body }]);
      if (refuse !== null) throw refuse;
    },
    now: () => now,
    changed: () => {},
    storage: { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) },
  });
});

describe("an answer", () => {
  it("needs a name, and where others will wonder a reason", () => {
    expect(missing("ack", " ", "")).toContain("name");
    expect(missing("ack", "Ada", "")).toBeNull();
    expect(missing("resolve", "Ada", "")).toBeNull();
    for (const order of ["silence", "false_alarm"] as const) {
      expect(missing(order, "Ada", " ")).toContain("reason");
      expect(missing(order, "Ada", "a migration")).toBeNull();
    }
  });

  it("is sent with the name, which is kept for the next time", async () => {
    await answers.say(alert(), "ack", " Ada ", "");
    await answers.say(alert(), "silence", "Ada", " a migration ", "4h");
    expect(said).toEqual([
      ["a", "ack", { by: "Ada" }],
      ["a", "silence", { by: "Ada", reason: "a migration", for: "4h" }],
    ]);
    expect(answers.name).toBe("Ada");
  });

  it("works where a browser keeps nothing", async () => {
    const storage = {
      getItem: () => {
        throw new Error("denied");
      },
      setItem: () => {
        throw new Error("denied");
      },
    };
    const forgetful = new Answers({ say: async () => {}, now: () => now, changed: () => {}, storage });
    await forgetful.say(alert(), "ack", "Ada", "");
    expect([forgetful.name, forgetful.of("a")?.order]).toEqual(["", "ack"]);
  });

  const outcomes: [Order, object, boolean][] = [
    ["ack", { status: "acknowledged", acked_by: "Ada" }, true],
    ["ack", { score: 9 }, false],
    ["ack", { status: "nodata", acked_by: "Ada" }, true],
    ["silence", { silenced_until: NOON + 1 }, true],
    ["silence", { status: "acknowledged", acked_by: "Bob" }, false],
    ["resolve", { status: "acknowledged", acked_by: "Bob" }, false],
    ["resolve", { status: "resolved" }, true],
    ["false_alarm", { status: "resolved" }, true],
    ["ack", { status: "resolved" }, true],
  ];
  it.each(outcomes)("%s is pending until the line tells of it: %o, %s", async (order, over, done) => {
    await answers.say(alert(), order, "Ada", "x", "1h");
    answers.look(() => alert());
    expect(answers.of("a")).toMatchObject({ order, problem: null });
    answers.look(() => alert(over));
    expect(answers.of("a") === undefined).toBe(done);
  });

  it("is no longer pending for an alert that is gone", async () => {
    await answers.say(alert(), "ack", "Ada", "");
    answers.look(() => undefined);
    expect(answers.of("a")).toBeUndefined();
  });

  it("that was refused says why, for a while", async () => {
    refuse = new Error("alert a is resolved already");
    await answers.say(alert(), "ack", "Ada", "");
    expect(answers.of("a")?.problem).toBe("alert a is resolved already");
    now += 10_000;
    answers.look(() => alert());
    expect(answers.of("a")).toBeDefined();
    now += 10_000;
    answers.look(() => alert());
    expect(answers.of("a")).toBeUndefined();
  });

  it("that nothing comes of says so", async () => {
    await answers.say(alert(), "ack", "Ada", "");
    now += PENDING_MS + 1;
    answers.look(() => alert());
    expect(answers.of("a")?.problem).toContain("the processor may be away");
  });
});
