import { describe, expect, it } from "vitest";
import { layoutFor, LEAST_REM_PX } from "../src/layout";

const television = { width: 1920, height: 1080, baseRemPx: 19 };

describe("the layout", () => {
  it("keeps the screen's own size of text while the board fits", () => {
    expect(layoutFor(6, 2, television)).toEqual({ remPx: 19, tileColumns: 6, chartColumns: 2 });
    expect(layoutFor(1, 1, television)).toEqual({ remPx: 19, tileColumns: 1, chartColumns: 1 });
  });

  it("makes a large board fit by making it smaller, but never too small to read", () => {
    const { remPx, tileColumns, chartColumns } = layoutFor(13, 5, television);
    expect([tileColumns, chartColumns]).toEqual([7, 3]);
    expect(remPx).toBeLessThan(19);
    expect(remPx).toBeGreaterThanOrEqual(LEAST_REM_PX);
  });

  it("lets a board scroll that cannot fit", () => {
    expect(layoutFor(60, 20, television).remPx).toBe(19);
    expect(layoutFor(6, 2, { width: 390, height: 844, baseRemPx: 14 })).toEqual({ remPx: 14, tileColumns: 1, chartColumns: 1 });
  });

  it("fills its rows evenly", () => {
    expect(layoutFor(8, 0, { ...television, width: 1800 }).tileColumns).toBe(4);
    expect(layoutFor(0, 0, television)).toMatchObject({ tileColumns: 1, chartColumns: 1 });
  });
});
