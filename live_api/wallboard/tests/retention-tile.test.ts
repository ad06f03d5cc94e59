import { expect, it } from "vitest";
import { retentionIn } from "../src/people";
import { matrixOf } from "../src/tiles/retention";
import { cohort, retention } from "./people-world";

const matrix = (over: Record<string, unknown> = {}, rows = 10, columns = 10) => matrixOf(retentionIn(retention(over)), rows, columns);

it("has a row a cohort and a cell for each time after it", () => {
  const found = matrix();
  expect(found.rows.map(({ label, people }) => [label, people])).toEqual([["4 May", "200"], ["11 May", "100"]]);
  expect(found.rows[0]!.cells.map((cell) => cell?.text)).toEqual(["100%", "42%", "1.5%"]);
  expect(found.rows[0]!.cells[1]).toMatchObject({ words: "84 of 200 people", partial: false });
  expect(found.rows[1]!.cells[2]).toBeNull();
  expect(found.overall.map((cell) => cell?.text)).toEqual(["100%", "42%", undefined]);
  expect([found.hasRevenue, found.hasLtv, found.hidden]).toEqual([false, false, 0]);
});

it("tells what is still growing from what is not, and keeps it out of the scale", () => {
  const found = matrix({ cohorts: [cohort("2026-05-04", 100, [100, 10, 99])] });
  expect(found.isPartial).toBe(true);
  expect(found.rows[0]!.cells[2]).toMatchObject({ partial: true, words: "99 of 100 people, so far" });
  // A tenth is the most of what is over, and that all were there at first says nothing.
  expect(found.rows[0]!.cells.map((cell) => cell!.step)).toEqual([null, 5, 5]);
  expect(matrix().rows[0]!.cells[2]!.step).toBe(0);
});

it("keeps the latest cohorts and the first offsets where there is no room", () => {
  const found = matrix({}, 1, 2);
  expect(found.rows.map(({ label }) => label)).toEqual(["11 May"]);
  expect([found.offsets, found.hidden, found.later, found.rows[0]!.cells.length]).toEqual([["0", "1"], 1, 1, 2]);
});

it("names months, segments and what is no date", () => {
  const cohorts = [cohort("2026-05-01", 1, [1], { segment: "DE" }), cohort("2026-06-01", 1, [1], { segment: "__none__" }), cohort("first", 1, [1])];
  expect(matrix({ period: "month", cohorts }).rows.map(({ label }) => label)).toEqual(["May 2026, DE", "Jun 2026, (none)", "first"]);
});

it("shows money where there is some", () => {
  const found = matrix({ cohorts: [cohort("2026-05-04", 2, [2], { revenue: 1234.5, ltv: 617.25 }), cohort("2026-05-11", 2, [2])] });
  expect([found.hasRevenue, found.hasLtv]).toEqual([true, true]);
  expect(found.rows.map(({ revenue, ltv }) => [revenue, ltv])).toEqual([["1,235", "617"], ["–", "–"]]);
});

it("is empty for nobody", () => {
  expect(matrix({ cohorts: [], overall: [], offsets: [] })).toMatchObject({ rows: [], overall: [], offsets: [] });
});
