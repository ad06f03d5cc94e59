/** What a risk tile draws: a bar a level, what speaks for leaving, and who is like whom. Nobody in it has a name. */

import { exactNumber, shareText, shortNumber } from "../format";
import type { Risk, RiskLevel } from "../models";

export interface LevelRow {
  level: RiskLevel;
  /** "80% or more" */
  range: string;
  people: string;
  exact: string;
  /** Of everybody, from 0 to 1: how long the bar is. */
  share: number;
  shareText: string;
}

export interface RiskView {
  levels: LevelRow[];
  /** What speaks for leaving, the most frequent first. */
  factors: { name: string; words: string; people: string; share: number }[];
  segments: { segment: string; people: string; high: string }[];
  /** "412 of 9,950 likely to leave within 30 days" */
  expected: string;
  /** Null for a model that is proven. */
  warning: string | null;
}

const DAY_S = 86_400;

export function riskOf(risk: Risk, rows: number): RiskView {
  const most = Math.max(1, rows);
  const expected = risk.levels.reduce((sum, one) => sum + one.expected, 0);
  const within = risk.horizonS === null ? "" : ` within ${daysText(risk.horizonS)}`;
  return {
    levels: risk.levels.map((one, index): LevelRow => {
      const share = risk.people > 0 ? Math.min(1, Math.max(0, one.people / risk.people)) : 0;
      const above = risk.levels[index - 1];
      return {
        level: one.level,
        range: one.from > 0 ? `${shareText(one.from)} or more` : `less than ${shareText(above?.from ?? 1)}`,
        people: shortNumber(one.people),
        exact: exactNumber(one.people),
        share,
        shareText: risk.people > 0 ? shareText(share) : "–",
      };
    }),
    factors: risk.factors.slice(0, most).map(({ name, words, people }) => ({
      name,
      words,
      people: shortNumber(people),
      share: risk.factorsOf > 0 ? Math.min(1, people / risk.factorsOf) : 0,
    })),
    segments: risk.segments
      .filter(({ segment }) => segment !== "")
      .slice(0, most)
      .map(({ segment, people, high }) => ({ segment, people: shortNumber(people), high: shortNumber(high) })),
    expected: risk.people > 0 ? `${shortNumber(Math.round(expected))} of ${shortNumber(risk.people)} expected to leave${within}` : "",
    warning: risk.proven ? null : risk.summary || "unproven",
  };
}

function daysText(seconds: number): string {
  const days = Math.round(seconds / DAY_S);
  return days === 1 ? "a day" : `${exactNumber(days)} days`;
}
