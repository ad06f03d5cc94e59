import { describe, expect, it } from "vitest";
import { SeriesStore } from "../src/store";
import { Order } from "../src/tiles/order";
import { changeOf, tableOf } from "../src/tiles/table";
import { DAY, MINUTE, moment, NOON, put, storeOf, tile } from "./tile-world";

const at = moment({ watermark: NOON });
const table = (about: Parameters<typeof tableOf>[0], store: SeriesStore, when = at) => tableOf(about, store, new Order(), when);

describe("the table", () => {
  it("has a row a series: its dimensions, its value, the last closed small window and how that moved", () => {
    const store = storeOf("1d", { Hill: [[DAY, 500, "open"]], Dale: [[DAY, 12_345, "open"]] });
    put(store, "1m", {
      Hill: [[NOON - 2 * MINUTE, 7], [NOON - MINUTE, 4], [NOON, 1, "open"]],
      Dale: [[NOON - 3 * MINUTE, 1], [NOON - MINUTE, 9]],
    });
    const found = table(tile({ type: "table" }), store);
    expect(found.columns).toEqual(["community"]);
    expect([found.period, found.lastLabel]).toEqual(["today so far", "1\u00a0min from 11:59"]);
    expect(found.rows.map(({ names, value, last, change }) => [names[0], value, last, change?.text])).toEqual([
      ["Dale", "12.3k", "9", "+9"],
      ["Hill", "500", "4", "\u22123"],
    ]);
  });

  it("leaves open what is not known", () => {
    const store = storeOf("1h", { a: [[NOON, 5]], b: [[NOON - 9 * 3_600_000, 1]] });
    const mean = tile({ window: "1h" }, { measure: "mean" });
    const found = table(mean, store);
    expect(found.rows.map(({ names, value, last, change }) => [names[0], value, last, change])).toEqual([
      ["a", "5", "–", null],
      ["b", "–", "–", null],
    ]);
    put(store, "1m", { a: [[NOON - MINUTE, 3]] });
    expect(table(mean, store).rows[0]).toMatchObject({ last: "3", change: null });
  });

  it("takes the tile's own window for the small one where that is the smallest", () => {
    const store = storeOf("1m", { a: [[NOON - 2 * MINUTE, 1], [NOON - MINUTE, 3], [NOON, 9, "open"]] });
    const found = table(tile({ window: "1m", fine: "1m" }), store);
    expect(found.rows[0]).toMatchObject({ value: "9", last: "3", change: { text: "+2" } });
    expect(table(tile({ fine: null }), storeOf("1d", { a: [[DAY, 3]] })).lastLabel).toBe("");
  });

  it("has a column for each dimension that the tile leaves free", () => {
    const store = storeOf("1d", {
      '{"platform":"ios","city":"Paris"}': [[DAY, 3]],
      '{"platform":"__other__","city":"__other__"}': [[DAY, 1]],
      '{"platform":"","city":"__none__"}': [[DAY, 0]],
    });
    const found = table(tile({}, { by: ["platform", "city"] }), store);
    expect(found.rows.map((row) => row.names)).toEqual([
      ["ios", "Paris"],
      ["other", "other"],
      ["(none)", "(none)"],
    ]);
    expect(found.rows[1]!.other).toBe(true);
  });

  it("is cut at the limit, says how many are left, and takes hundreds of series", () => {
    const told = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`#${index}`, [[DAY, index]] as [number, number][]]));
    const found = table(tile({ limit: 12, critical: 299 }), storeOf("1d", told));
    expect([found.rows.length, found.hidden]).toEqual([12, 288]);
    expect(found.rows.slice(0, 2).map((row) => row.level)).toEqual(["critical", "ok"]);
  });

  it("is empty without series", () => {
    expect(table(tile(), new SeriesStore())).toMatchObject({ rows: [], hidden: 0, lastLabel: "" });
    expect(table(tile({ metric: null }), new SeriesStore()).rows).toEqual([]);
  });
});

describe("a change", () => {
  it("always has a sign, and no digits that say nothing", () => {
    const told = [changeOf(8, 5), changeOf(0, 12_345), changeOf(5, 5), changeOf(67.93, 68.11), changeOf(171.2, 171.4), changeOf(-3, 4)];
    expect(told.map(({ text, direction }) => [text, direction])).toEqual([
      ["+3", "up"],
      ["\u221212.3k", "down"],
      ["±0", "same"],
      ["\u22120.2", "down"],
      ["±0", "same"],
      ["\u22127", "down"],
    ]);
  });
});
