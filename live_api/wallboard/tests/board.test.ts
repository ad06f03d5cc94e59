import { describe, expect, it } from "vitest";
import { parseBoard, parseBoards } from "../src/board";
import { metric } from "./sample";

const TILE = {
  id: "t0",
  type: "number",
  title: "Claims",
  unit: null,
  metric: metric({ name: "claims" }),
  window: "1d",
  fine: "1m",
  dimensions: { community: "Riverside" },
  width: 3,
  height: 2,
  compare: "yesterday",
  target: null,
  warning: 400,
  critical: 600,
  limit: 10,
  min: null,
  max: null,
  key: null,
  analysis: null,
  period: null,
  forecast: null,
};

describe("a board", () => {
  it("is read whole", () => {
    const board = parseBoard({
      name: "ops",
      title: "Operations",
      derived: false,
      platform: { name: "Corner shop", timezone: "Europe/Berlin" },
      tiles: [TILE],
      left_out: 2,
    });
    expect(board).toEqual({
      name: "ops",
      title: "Operations",
      derived: false,
      platform: { name: "Corner shop", timezone: "Europe/Berlin" },
      tiles: [TILE],
      leftOut: 2,
    });
  });

  it("keeps what it understands of a newer server's", () => {
    const { tiles } = parseBoard({ name: "ops", tiles: [{ type: "hologram" }, 7, { type: "status", extra: 1 }] });
    expect(tiles).toHaveLength(1);
    expect(tiles[0]).toMatchObject({ id: "t2", type: "status", metric: null, compare: "none", limit: 10 });
  });

  it("stays on the grid, whatever the sizes", () => {
    const sizes = (width: unknown, height: unknown) => {
      const [tile] = parseBoard({ name: "ops", tiles: [{ ...TILE, width, height }] }).tiles;
      return [tile!.width, tile!.height];
    };
    expect(sizes(40, 0)).toEqual([12, 1]);
    expect(sizes(-2, 1e9)).toEqual([1, 24]);
    expect(sizes("wide", null)).toEqual([3, 3]);
  });

  it("is an error where it is none", () => {
    expect(() => parseBoard({ detail: "no" })).toThrow("/v1/boards/{name}");
    expect(() => parseBoard(null)).toThrow(TypeError);
  });
});

describe("the list of boards", () => {
  it("has a default, the first one where none is named", () => {
    expect(parseBoards({ boards: [{ name: "a" }, 3, { name: "b", title: "B" }], default: "b" })).toEqual({
      boards: [
        { name: "a", title: "a", derived: false },
        { name: "b", title: "B", derived: false },
      ],
      default: "b",
    });
    expect(parseBoards({ boards: [{ name: "a" }] }).default).toBe("a");
    expect(() => parseBoards({ boards: [] })).toThrow("found none");
    expect(() => parseBoards([])).toThrow("/v1/boards");
  });
});
