import { expect, it } from "vitest";
import { Zone } from "../src/format";
import { modelIn } from "../src/models";
import { modelOf } from "../src/tiles/model";
import { model } from "./models-world";

const view = (over: Record<string, unknown> = {}) => modelOf(modelIn(model(over)), new Zone("UTC"));

it("stands beside simple guesses", () => {
  const { rows, verdict, proven, notes } = view();
  expect(rows.map(({ name, auc, logLoss }) => [name, auc, logLoss])).toEqual([
    ["this model", "0.891", "0.402"],
    ["time since last seen", "0.842", "0.467"],
    ["same for everybody", "0.500", "0.618"],
  ]);
  expect([proven, verdict]).toEqual([true, "proven: better than knowing when people came last"]);
  const [changed, drifted] = [Date.UTC(2024, 2, 4), Date.UTC(2024, 2, 20)].map((time) => new Zone("UTC").date(time));
  expect(notes).toEqual(["version 3", "12.3k answers", "31% left", "off by 1.3 points", `changed ${changed}`, `drifted ${drifted}`]);
});

it("shows what was said beside what happened, tenth by tenth", () => {
  const { bins } = view();
  expect(bins).toHaveLength(10);
  expect(bins[2]).toEqual({ range: "20–30%", said: 0.25, happened: 0.26, rows: "933", words: "of 933 said to leave with 25%, 26% did" });
  expect(bins[9]).toEqual({ range: "90–100%", said: null, happened: null, rows: "0", words: "nobody was said to leave with 90 to 100%" });
});

it("says that nothing is proven, in words, and why", () => {
  expect(view({ proven: false }).verdict).toBe("unproven: not shown to be better than knowing when people came last");
  const none = view({ proven: false, samples: 0, version: 1, quality: { labels: 0, reliability: [] } });
  expect([none.verdict, none.rows]).toEqual(["unproven: 0 answers yet", []]);
  expect(view({ proven: false, version: 0, samples: 0, quality: {} }).verdict).toBe("unproven: the model has not begun");
});

it("has figures of a forecast by how far ahead they are", () => {
  const horizons = { "12": { mase: 0.9, coverage: 0.88 }, "1": { mase: 0.521, relative: 0.6 }, "6": 3 };
  const found = view({ name: "forecast edits@1m", kind: "forecast", proven: false, quality: { series: 12, asked_coverage: 0.9, horizons, what: "x" } });
  expect(found.figures).toEqual([
    { name: "series", value: "12" },
    { name: "asked coverage", value: "0.900" },
  ]);
  expect(found.columns).toEqual(["mase", "relative", "coverage"]);
  expect(found.horizons).toEqual([
    { horizon: "1", values: ["0.521", "0.600", "–"] },
    { horizon: "12", values: ["0.900", "–", "0.880"] },
  ]);
  expect(found.verdict).toBe("unproven: not shown to be better than the simple guess");
  expect([found.rows, found.bins]).toEqual([[], []]);
});

it("makes do with anybody's answer", () => {
  const found = view({ quality: 3, drift: null, swapped: "soon", samples: 1 });
  expect(found.rows.map(({ auc }) => auc)).toEqual(["–", "–", "–"]);
  expect(found.notes).toEqual(["version 3", "1 answer"]);
  const odd = view({ quality: { reliability: [3, { rows: 2 }, { rows: 2, said: 1, left: 0.5 }, { rows: 2, said: 7, left: 1 }] } });
  expect(odd.bins.map(({ said }) => said)).toEqual([null, null, null, null, null, null, null, null, null, 1]);
});
