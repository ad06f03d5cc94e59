import { describe, expect, it } from "vitest";
import { pathsIn } from "../src/people";
import { flowOf } from "../src/tiles/paths";
import { paths } from "./people-world";

const flow = (over: Record<string, unknown> = {}, most = 10, room = 10) => flowOf(pathsIn(paths(over)), most, room);

describe("the flow from page to page", () => {
  it("has bands as wide as they are frequent, between pages with all that goes through them", () => {
    const found = flow();
    expect(found.bands.map(({ from, to, exact }) => [from, to, exact])).toEqual([
      ["(start)", "/", "80"],
      ["/", "/shop", "60"],
      ["/shop", "/pay", "20"],
      ["/pay", "(end)", "15"],
      ["/", "/help", "10"],
    ]);
    expect(found.left.map(({ label, count, isEnd }) => [label, count, isEnd])).toEqual([
      ["(start)", "80", true],
      ["/", "70", false],
      ["/shop", "20", false],
      ["/pay", "15", false],
    ]);
    const heights = found.left.map(({ from, to }) => to - from);
    expect(heights[0]! / heights[3]!).toBeCloseTo(80 / 15);
    expect(found.bands.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1);
  });

  it("keeps everything in its box, and no page over another", () => {
    const transitions = Array.from({ length: 40 }, (_, index) => ({ from: `/a${index % 7}`, to: `/b${index % 11}`, count: 1 + (index * 37) % 90 }));
    const found = flow({ transitions }, 40, 12);
    for (const nodes of [found.left, found.right]) {
      let before = 0;
      for (const { from, to, middle } of nodes) {
        expect(from).toBeGreaterThanOrEqual(before - 1e-9);
        expect(middle).toBeCloseTo((from + to) / 2);
        before = to;
      }
      expect(before).toBeLessThanOrEqual(1 + 1e-9);
    }
    const numbers = found.bands.flatMap(({ outline }) => outline.match(/[\d.]+/g)!.map(Number));
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThanOrEqual(100);
  });

  it("leaves out what is rare, and what there is no room for", () => {
    expect(flow({}, 2)).toMatchObject({ hidden: 3 });
    const narrow = flow({}, 10, 2);
    expect([narrow.left.length, narrow.right.length, narrow.hidden]).toEqual([2, 2, 3]);
  });

  it("names what has no name of its own", () => {
    const transitions = [{ from: "__other__", to: "__none__", count: 3 }];
    expect(flow({ transitions, starts: [], ends: [] }).bands[0]).toMatchObject({ from: "other", to: "(none)", isEnd: false });
  });

  it("takes nothing", () => {
    expect(flow({ transitions: [], starts: [], ends: [] })).toEqual({ left: [], right: [], bands: [], hidden: 0 });
  });
});
