/** What models say, as the server gives it. */

import { answerIn, type Answer } from "../src/people";
import { NOON } from "./sample";

export const risk = (over: Record<string, unknown> = {}): Answer =>
  answerIn({
    as_of: new Date(NOON).toISOString(),
    due: new Date(NOON + 90_000_000).toISOString(),
    state: "live",
    horizon_s: 30 * 86_400,
    people: 9_950,
    proven: true,
    model: "proven; AUC 0.891",
    levels: [
      { level: "high", from: 0.8, people: 412, share: 0.0414, expected: 361.4, actions: [] },
      { level: "medium", from: 0.5, people: 1_800, share: 0.18, expected: 1_100.2, actions: [] },
      { level: "low", from: 0, people: 7_738, share: 0.78, expected: 900, actions: [] },
    ],
    segments: [
      { segment: "rarely there", people: 3_000, expected: 900, high: 380, medium: 1_000, low: 1_620 },
      { segment: "there every day", people: 6_950, expected: 1_461.6, high: 32, medium: 800, low: 6_118 },
    ],
    factors_of: 412,
    factors: [
      { name: "gap", words: "long times between visits", people: 309, contribution: 0.8 },
      { name: "posts.7d", words: "posts less than others in the last week", people: 120, contribution: 0.4 },
    ],
    persons: [],
    next: null,
    ...over,
  });

export const model = (over: Record<string, unknown> = {}): Answer =>
  answerIn({
    name: "churn",
    kind: "churn",
    at: new Date(NOON).toISOString(),
    due: new Date(NOON + 90_000_000).toISOString(),
    state: "live",
    version: 3,
    samples: 12_345,
    proven: true,
    state_bytes: 6_100,
    drift: { count: 1, at: "2024-03-20T00:00:00Z" },
    swapped: "2024-03-04T00:00:00Z",
    quality: {
      auc: 0.891,
      auc_recency: 0.8421,
      log_loss: 0.402,
      log_loss_recency: 0.467,
      log_loss_base: 0.618,
      ece: 0.013,
      base_rate: 0.31,
      labels: 8_400,
      reliability: [0, 1, 2, 3, 4, 5, 6, 7, 8].map((tenth) => ({ rows: 933.3, said: tenth / 10 + 0.05, left: tenth / 10 + 0.06 })),
    },
    ...over,
  });
