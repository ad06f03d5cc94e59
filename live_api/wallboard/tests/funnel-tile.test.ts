import { expect, it } from "vitest";
import { funnelIn } from "../src/people";
import { funnelOf } from "../src/tiles/funnel";
import { funnel } from "./people-world";

const view = (over: Record<string, unknown> = {}) => funnelOf(funnelIn(funnel(over)), 8);

it("has a bar a step, what was lost before it and how long it took", () => {
  const { rows, conversion } = view();
  expect(rows.map(({ name, people, share, shareText, lost, time }) => [name, people, share, shareText, lost, time])).toEqual([
    ["Home", "1,000", 1, "100%", "", ""],
    ["Basket", "400", 0.4, "40%", "−600 (60%)", "42 s"],
    ["Paid", "12", 0.012, "1.2%", "−388 (97%)", "3 min"],
  ]);
  expect(rows[1]!.times).toBe("half within 42 s, nine of ten within 10 min");
  expect(rows[2]!.times).toBe("half within 3 min");
  expect(conversion).toBe("1.2% to the end, half of them within 4 min");
});

it("says how the largest values of a breakdown fare", () => {
  const value = (name: string, entered: number, share: number) => ({ value: name, steps: [{ step: 1, people: entered, share: 1 }, { step: 2, people: 1, share }] });
  expect(view({ breakdown: [value("FR", 5, 0.2), value("DE", 50, 0.14), value("__none__", 1, 0)] }).values).toEqual(["DE 14%", "FR 20%", "(none) 0%"]);
  expect(view().values).toEqual([]);
});

it("has the first steps and the last where there is no room for all", () => {
  const steps = Array.from({ length: 12 }, (_, at) => ({ step: at + 1, name: `s${at + 1}`, people: 12 - at, share: 1 - at / 12, drop_off: 1 }));
  const found = view({ steps });
  expect([found.rows.map(({ id }) => id), found.hidden]).toEqual([[1, 2, 3, 4, 5, 6, 7, 12], 4]);
});

it("divides by nobody without harm", () => {
  const nobody = [1, 2].map((step) => ({ step, name: `s${step}`, people: 0, share: null, from_previous: null, drop_off: 0, seconds: null }));
  const found = view({ steps: nobody, conversion: null, overall_seconds: null });
  expect(found.rows.map(({ share, shareText, lost }) => [share, shareText, lost])).toEqual([[0, "–", ""], [0, "–", ""]]);
  expect([found.conversion, found.hasTimes]).toEqual(["", false]);
  expect(view({ steps: [] }).rows).toEqual([]);
});
