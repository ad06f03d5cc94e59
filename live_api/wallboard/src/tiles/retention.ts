/** What a retention tile draws: a row a cohort, and for each time after its beginning which share came back. */

import { exactNumber, shareText, shortNumber } from "../format";
import type { Cohort, Retention } from "../people";
import { stepOf, stepsOf } from "./steps";

export interface MatrixCell {
  text: string;
  /** "120 of 400 people, so far" */
  words: string;
  /** Of the scale of colours, 0 to 5; null for a whole cohort at its beginning, which says nothing. */
  step: number | null;
  /** Its time goes on. */
  partial: boolean;
}

export interface MatrixRow {
  id: string;
  label: string;
  people: string;
  cells: (MatrixCell | null)[];
  revenue: string;
  ltv: string;
}

export interface Matrix {
  /** "week": what the cohorts are of, and what the offsets count. */
  period: string;
  offsets: string[];
  /** All cohorts together, each as far as its time has come. */
  overall: (MatrixCell | null)[];
  rows: MatrixRow[];
  hidden: number;
  /** Offsets that are not shown, behind the others. */
  later: number;
  /** Some cell is partial. */
  isPartial: boolean;
  hasRevenue: boolean;
  hasLtv: boolean;
}

/** The latest cohorts, oldest first, and the first offsets. */
export function matrixOf(retention: Retention, mostRows: number, mostColumns: number): Matrix {
  const offsets = retention.offsets.slice(0, Math.max(1, mostColumns));
  const shown = retention.cohorts.slice(-Math.max(1, mostRows));
  // What is still growing says nothing of the scale yet.
  const telling = shown.flatMap(({ cells }) =>
    cells.slice(0, offsets.length).flatMap((cell, at) => (cell === null || cell.partial || isWhole(offsets[at]!, cell.share) ? [] : [cell.share])),
  );
  const steps = stepsOf(telling, true);
  const cell = (offset: string, people: number, of: number, share: number, partial: boolean): MatrixCell => ({
    text: shareText(share),
    words: `${exactNumber(people)} of ${exactNumber(of)} people${partial ? ", so far" : ""}`,
    step: isWhole(offset, share) ? null : stepOf(steps, share),
    partial,
  });
  const rows = shown.map((cohort): MatrixRow => ({
    id: JSON.stringify([cohort.cohort, cohort.segment]),
    label: labelOf(cohort, retention.period),
    people: shortNumber(cohort.people),
    cells: offsets.map((offset, at) => {
      const found = cohort.cells[at] ?? null;
      return found && cell(offset, found.people, cohort.people, found.share, found.partial);
    }),
    revenue: cohort.revenue === null ? "–" : shortNumber(cohort.revenue),
    ltv: cohort.ltv === null ? "–" : shortNumber(cohort.ltv),
  }));
  return {
    period: retention.period,
    offsets,
    overall: offsets.map((offset) => {
      const found = retention.overall.find((one) => one.offset === offset);
      return found === undefined ? null : cell(offset, found.people, found.of, found.share, false);
    }),
    rows,
    hidden: retention.cohorts.length - shown.length,
    later: retention.offsets.length - offsets.length,
    isPartial: rows.some(({ cells }) => cells.some((one) => one?.partial === true)),
    hasRevenue: shown.some(({ revenue }) => revenue !== null),
    hasLtv: shown.some(({ ltv }) => ltv !== null),
  };
}

/** All of a cohort were there when it began. */
function isWhole(offset: string, share: number): boolean {
  return offset === "0" && share === 1;
}

const DAY = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });
const MONTH = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", month: "short", year: "numeric" });

/** "4 May", "May 2026"; with the segment behind it. */
function labelOf({ cohort, segment }: Cohort, period: string): string {
  // A date alone is read as of UTC, and so it is written.
  const date = /^\d{4}-\d{2}-\d{2}$/.test(cohort) ? Date.parse(cohort) : NaN;
  const label = Number.isNaN(date) ? cohort : (period === "month" ? MONTH : DAY).format(date);
  return segment === null ? label : `${label}, ${segment === "__none__" ? "(none)" : segment === "__other__" ? "other" : segment}`;
}
