import { describe, expect, it } from "vitest";
import { SeriesStore } from "../src/store";
import { cellText, heatOf, rowText, shadesOf, ticksOf } from "../src/tiles/heatmap";
import { stepsOf } from "../src/tiles/steps";
import { Order } from "../src/tiles/order";
import { MINUTE, moment, NOON, storeOf, tile, type Told } from "./tile-world";

const at = moment({ watermark: NOON });
const heat = (about: Parameters<typeof heatOf>[0], store: SeriesStore, when = at) => heatOf(about, store, new Order(), when);

describe("the heat map", () => {
  it("has the last hour of windows, a row a series, the largest first", () => {
    const store = storeOf("1m", { Hill: [[NOON - MINUTE, 3], [NOON, 1, "open"]], Dale: [[NOON - 90 * MINUTE, 9], [NOON - 59 * MINUTE, 60]] });
    const found = heat(tile({ type: "heatmap" }), store);
    expect([found.starts.length, found.starts[0], found.starts.at(-1)]).toEqual([60, NOON - 59 * MINUTE, NOON]);
    expect(found.rows.map((row) => row.label)).toEqual(["Dale", "Hill"]);
    expect(found.rows[0]!.cells[0]).toEqual({ value: 60, open: false, step: 5 });
    expect(found.rows[1]!.cells.at(-1)).toEqual({ value: 1, open: true, step: 0 });
  });

  it("begins where something is known, and not in the last corner", () => {
    const about = tile({}, { measure: "mean" });
    const starts = (ago: number) => heat(about, storeOf("1m", { a: [[NOON - ago * MINUTE, 3], [NOON, 1]] })).starts.length;
    expect([starts(2), starts(40), starts(59), starts(80)]).toEqual([24, 41, 60, 24]);
  });

  it("tells zero from unknown", () => {
    const told: Record<string, Told[]> = { a: [[NOON - 5 * MINUTE, 3], [NOON - 2 * MINUTE, 3]] };
    const counted = heat(tile(), storeOf("1m", told)).rows[0]!.cells.slice(-6);
    expect(counted.map((cell) => cell.value)).toEqual([null, 3, 0, 0, 3, 0]);
    const mean = heat(tile({}, { measure: "mean" }), storeOf("1m", told)).rows[0]!.cells.slice(-6);
    expect(mean.map((cell) => cell.value)).toEqual([null, 3, null, null, 3, null]);
    expect(mean.map((cell) => cell.step === null)).toEqual([true, false, true, true, false, true]);
  });

  it("does not take what is still growing into the scale", () => {
    const found = heat(tile(), storeOf("1m", { a: [[NOON - MINUTE, 4], [NOON, 900, "open"]] }));
    expect(found.steps.edges).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(found.rows[0]!.cells.at(-1)!.step).toBe(5);
  });

  it("takes hundreds of series, negative numbers, and none", () => {
    const told = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`#${index}`, [[NOON - MINUTE, index - 9]] as Told[]]));
    const found = heat(tile({ limit: 8 }), storeOf("1m", told));
    expect([found.rows.length, found.hidden]).toEqual([8, 292]);
    const below = heat(tile({}, { measure: "sum" }), storeOf("1m", { a: [[NOON - MINUTE, -5]] }));
    expect(below.rows[0]!.cells.some((cell) => cell.step !== null && cell.step < below.steps.zeroAt)).toBe(true);
    expect(heat(tile(), new SeriesStore()).rows).toEqual([]);
    expect(heat(tile({ metric: null }), new SeriesStore()).rows).toEqual([]);
    expect(heat(tile({ fine: "day" }), new SeriesStore()).rows).toEqual([]);
  });

  it("says each cell and each row in words", () => {
    const found = heat(tile(), storeOf("1m", { Hill: [[NOON - 2 * MINUTE, 1234], [NOON - MINUTE, 3], [NOON, 1, "open"]] }));
    const last = found.starts.length - 1;
    expect(cellText(found, 0, last, "kg", at.zone)).toBe("Hill, 12:00: 1 kg so far");
    expect(cellText(found, 0, last - 2, null, at.zone)).toBe("Hill, 11:58: 1,234");
    expect(cellText(found, 0, 0, null, at.zone)).toBe("Hill, 11:37: unknown");
    expect(cellText(found, 7, 0, null, at.zone)).toBe("");
    expect(rowText(found.rows[0]!)).toEqual({ latest: "3", least: "3", most: "1,234" });
  });

  it("marks the quarters of the hour", () => {
    const found = heat(tile(), storeOf("1m", { Hill: [[NOON - 59 * MINUTE, 1], [NOON, 1, "open"]] }));
    expect(ticksOf(found, at.zone).map((tick) => tick.text)).toEqual(["11:15", "11:30", "11:45"]);
    expect(ticksOf(heat(tile(), new SeriesStore()), at.zone)).toEqual([]);
  });

  it("is of one hue above zero and of another below, the stronger the further", () => {
    expect(shadesOf(stepsOf([60], true))).toEqual(["--heat-0", "--heat-1", "--heat-2", "--heat-3", "--heat-4", "--heat-5"]);
    expect(shadesOf(stepsOf([-60, 60], true))).toEqual(["--cold-2", "--cold-1", "--cold-0", "--heat-1", "--heat-3", "--heat-5"]);
    expect(shadesOf(stepsOf([-60], true))).toEqual(["--cold-2", "--cold-1", "--cold-0"]);
  });
});
