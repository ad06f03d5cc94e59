import { describe, expect, it } from "vitest";
import { Kept } from "../src/tiles/kept";
import { Order, REORDER_EVERY_MS, type Sized } from "../src/tiles/order";

const sized = (sizes: Record<string, number | null>): Sized[] => Object.entries(sizes).map(([id, size]) => ({ id, size }));
const ids = (all: Sized[]): string => all.map((one) => one.id).join("");

describe("order", () => {
  it("is largest first, unknown last, equals by name, and no more than asked for", () => {
    const order = new Order();
    expect(ids(order.of(sized({ x: null, c: 1, b: 5, a: 1, d: -3 }), 9, 0))).toBe("bacdx");
    expect(ids(new Order().of(sized({ c: 1, b: 5, a: 1 }), 2, 0))).toBe("ba");
    expect(ids(order.of([], 9, 1))).toBe("");
  });

  it("is of those furthest from zero, whichever side they are on", () => {
    expect(ids(new Order().of(sized({ a: 1, b: -500, c: 40, d: null }), 2, 0))).toBe("cb");
  });

  it("changes no sooner than in three seconds, while the values do", () => {
    const order = new Order();
    order.of(sized({ a: 2, b: 1 }), 9, 0);
    const soon = order.of(sized({ a: 2, b: 9 }), 9, REORDER_EVERY_MS - 1);
    expect(ids(soon)).toBe("ab");
    expect(soon[1]!.size).toBe(9);
    expect(ids(order.of(sized({ a: 2, b: 9 }), 9, REORDER_EVERY_MS))).toBe("ba");
  });

  it("changes at once when one comes that has room, one goes, or the limit does", () => {
    const order = new Order();
    expect(ids(order.of(sized({ a: 2 }), 2, 0))).toBe("a");
    expect(ids(order.of(sized({ a: 2, b: 9 }), 2, 1))).toBe("ba");
    expect(ids(order.of(sized({ a: 2, b: 9, c: 99 }), 2, 2))).toBe("ba");
    expect(ids(order.of(sized({ a: 2, c: 99 }), 2, 3))).toBe("ca");
    expect(ids(order.of(sized({ a: 2, c: 99 }), 1, 4))).toBe("c");
  });

  it("goes on when the clock was set back", () => {
    const order = new Order();
    order.of(sized({ a: 2, b: 1 }), 9, 1e12);
    expect(ids(order.of(sized({ a: 2, b: 9 }), 9, 0))).toBe("ba");
  });
});

describe("what is kept", () => {
  it("is made again only when something it was made of is another", () => {
    const kept = new Kept<number>();
    let made = 0;
    const make = (): number => (made += 1);
    expect([kept.of([1, "a"], make), kept.of([1, "a"], make), kept.of([2, "a"], make), kept.of([2], make)]).toEqual([1, 1, 2, 3]);
    expect(new Kept<undefined>().of([], () => undefined)).toBeUndefined();
  });
});
