import { describe, expect, it } from "vitest";
import { Rotation } from "../src/rotation";

const S = 1_000;
const NAMES = ["a", "b", "c"];

/** Ticks four times a second until then. */
function run(rotation: Rotation, from: number, to: number, hold = false): string[] {
  const shown: string[] = [];
  for (let now = from; now <= to; now += 250) if (rotation.tick(now, hold)) shown.push(`${rotation.current}@${now / S}`);
  return shown;
}

describe("boards in turn", () => {
  it("each stay for their time, around and around", () => {
    const rotation = new Rotation(NAMES, "a", 30 * S, 0);
    expect(run(rotation, 0, 100 * S)).toEqual(["b@30", "c@60", "a@90"]);
  });

  it("wait while they are held, and go on with the time that was left", () => {
    const rotation = new Rotation(NAMES, "a", 30 * S, 0);
    run(rotation, 0, 20 * S);
    expect(run(rotation, 20 * S, 500 * S, true)).toEqual([]);
    expect(rotation.held).toBe(true);
    expect(run(rotation, 500 * S, 520 * S)).toEqual(["b@510"]);
    expect(rotation.held).toBe(false);
  });

  it("stay for a whole turn when somebody has chosen", () => {
    const rotation = new Rotation(NAMES, "a", 30 * S, 0);
    run(rotation, 0, 29 * S);
    rotation.show("c", 29 * S);
    expect(run(rotation, 29 * S, 60 * S)).toEqual(["a@59"]);
    rotation.step(-1, 60 * S);
    expect(rotation.current).toBe("c");
    rotation.step(1, 60 * S);
    expect(rotation.current).toBe("a");
  });

  it("change once after a night's sleep, not once for each turn that was missed", () => {
    const rotation = new Rotation(NAMES, "a", 30 * S, 0);
    expect(rotation.tick(8 * 3_600 * S, false)).toBe(true);
    expect(rotation.current).toBe("b");
    expect(rotation.tick(8 * 3_600 * S + 250, false)).toBe(false);
  });

  it("do not turn without a time, or where there is only one", () => {
    expect(run(new Rotation(NAMES, "a", null, 0), 0, 1_000 * S)).toEqual([]);
    const one = new Rotation(["a"], "a", 30 * S, 0);
    expect(run(one, 0, 1_000 * S)).toEqual([]);
    expect(one.turns).toBe(false);
    expect(one.held).toBe(false);
  });

  it("go on from the first when the present one is none of them", () => {
    const rotation = new Rotation(NAMES, "other", 30 * S, 0);
    rotation.step(1, 0);
    expect(rotation.current).toBe("a");
    const back = new Rotation(NAMES, "other", 30 * S, 0);
    back.step(-1, 0);
    expect(back.current).toBe("c");
    const empty = new Rotation([], "other", 30 * S, 0);
    empty.step(1, 0);
    expect(empty.current).toBe("other");
    rotation.setBoards(["x", "y"]);
    expect(rotation.current).toBe("a");
    rotation.step(1, 0);
    expect(rotation.current).toBe("x");
  });
});
