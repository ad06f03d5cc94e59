import { expect, it } from "vitest";
import { riskIn } from "../src/models";
import { riskOf } from "../src/tiles/risk";
import { risk } from "./models-world";

const view = (over: Record<string, unknown> = {}, rows = 8) => riskOf(riskIn(risk(over)), rows);

it("has a bar a level, and how many are expected to leave", () => {
  const { levels, expected, warning } = view();
  expect(levels.map(({ level, range, people, share, shareText }) => [level, range, people, Number(share.toFixed(3)), shareText])).toEqual([
    ["high", "80% or more", "412", 0.041, "4.1%"],
    ["medium", "50% or more", "1,800", 0.181, "18%"],
    ["low", "less than 50%", "7,738", 0.778, "78%"],
  ]);
  expect(expected).toBe("2,362 of 9,950 expected to leave within 30 days");
  expect(warning).toBeNull();
});

it("says why and who is like whom, and names nobody", () => {
  const persons = [{ person: "0a".repeat(16), level: "high" }];
  const found = view({ persons });
  expect(found.factors).toEqual([
    { name: "gap", words: "long times between visits", people: "309", share: 0.75 },
    { name: "posts.7d", words: "posts less than others in the last week", people: "120", share: 120 / 412 },
  ]);
  expect(found.segments).toEqual([
    { segment: "rarely there", people: "3,000", high: "380" },
    { segment: "there every day", people: "6,950", high: "32" },
  ]);
  expect(JSON.stringify(found)).not.toContain("0a0a");
  expect(view({}, 1).factors).toHaveLength(1);
  expect(view({ segments: [{ segment: "", people: 9 }] }).segments).toEqual([]);
});

it("says that nothing is proven, in words", () => {
  expect(view({ proven: false, model: "unproven: nobody's answer is known yet" }).warning).toBe("unproven: nobody's answer is known yet");
  expect(view({ proven: "yes", model: 3 }).warning).toBe("unproven");
});

it("makes do with anybody's answer", () => {
  const nothing = view({ people: 0, levels: [{ level: "high", people: 0 }, { level: "odd" }, 3], factors: null, segments: [{}], horizon_s: 86_400 });
  expect(nothing.levels).toEqual([{ level: "high", range: "less than 100%", people: "0", exact: "0", share: 0, shareText: "–" }]);
  expect([nothing.factors, nothing.segments, nothing.expected]).toEqual([[], [], ""]);
  expect(view({ people: 10, horizon_s: 86_400 }).expected).toContain("within a day");
});
