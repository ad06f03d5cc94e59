import { describe, expect, it } from "vitest";
import { layoutFor, LEAST_REM_PX, placesOf } from "../src/grid";
import { tile } from "./sample";

const television = { width: 1880, height: 940, baseRemPx: 19 };
const some = (...sizes: [width: number, height: number][]) =>
  sizes.map(([width, height], index) => tile({ id: `t${index}`, width, height }));
const at = (places: ReturnType<typeof placesOf>) =>
  Object.fromEntries(places.map(({ tile, row, column, width, height }) => [tile.id, [row, column, width, height]]));

describe("tiles", () => {
  it("stand in the board's order, left to right", () => {
    expect(at(placesOf(some([3, 2], [3, 2], [6, 2], [12, 4]), 12))).toEqual({
      t0: [1, 1, 3, 2],
      t1: [1, 4, 3, 2],
      t2: [1, 7, 6, 2],
      t3: [3, 1, 12, 4],
    });
  });

  it("fill the hole that a large one leaves, and get the focus in reading order", () => {
    const places = placesOf(some([8, 4], [6, 2], [4, 2], [4, 2]), 12);
    expect(at(places)).toMatchObject({ t2: [1, 9, 4, 2], t3: [3, 9, 4, 2], t1: [5, 1, 6, 2] });
    expect(places.map(({ tile }) => tile.id)).toEqual(["t0", "t2", "t3", "t1"]);
  });

  it("never stand on one another", () => {
    const sizes: [number, number][] = Array.from({ length: 40 }, (_, index) => [1 + ((index * 7) % 12), 1 + ((index * 5) % 4)]);
    for (const columns of [12, 6, 2]) {
      for (const fill of [false, true]) {
        const taken = new Set<string>();
        for (const { row, column, width, height } of placesOf(some(...sizes), columns, fill)) {
          expect(column + width - 1).toBeLessThanOrEqual(columns);
          for (let y = row; y < row + height; y += 1) {
            for (let x = column; x < column + width; x += 1) {
              expect(taken.has(`${x} ${y}`)).toBe(false);
              taken.add(`${x} ${y}`);
            }
          }
        }
      }
    }
  });

  it("of a board that nobody has laid out grow over what would stay empty", () => {
    expect(at(placesOf(some([5, 2], [5, 2], [4, 2]), 12, true))).toEqual({ t0: [1, 1, 5, 2], t1: [1, 6, 7, 2], t2: [3, 1, 12, 2] });
  });
});

describe("the layout", () => {
  it("keeps the screen's own size of text while the board fits", () => {
    expect(layoutFor(some([3, 2], [3, 2], [6, 4]), television)).toMatchObject({ remPx: 19, columns: 12, rows: 4, fits: true });
    expect(layoutFor([], television)).toMatchObject({ rows: 1, places: [], fits: true });
  });

  it("makes a large board fit by making text smaller, but never too small to read", () => {
    const { remPx, fits } = layoutFor(some([12, 2], [12, 2], [12, 4], [12, 4]), television);
    expect(fits).toBe(true);
    expect(remPx).toBeLessThan(19);
    expect(remPx).toBeGreaterThanOrEqual(LEAST_REM_PX);
  });

  it("lets a board scroll that cannot fit, at its own size", () => {
    const tiles = some(...Array.from({ length: 20 }, (): [number, number] => [12, 4]));
    expect(layoutFor(tiles, television)).toMatchObject({ remPx: 19, fits: false });
    expect(layoutFor(tiles, { width: 390, height: 700, baseRemPx: 14 })).toMatchObject({ columns: 2, fits: false });
  });
});
