/** Where the axis of a chart begins and ends, and in which steps it counts. */

export interface Values {
  /** Totals, which are read against zero. */
  fromZero: boolean;
  /** Parts of a hundred: there is nothing above 100 to leave room for, unless a value says so. */
  percent: boolean;
}

const STEPS = 4;
/** So that a line along the upper edge is not cut in two. */
const EDGE = 0.015;

/** Never below zero when no value is. */
export function axisRange(least: number | null, most: number | null, { fromZero, percent }: Values): [number, number] {
  if (least === null || most === null) return [0, 1];
  if (fromZero) return [Math.min(0, least * 1.08), most > 0 ? most * 1.08 : least < 0 ? 0 : 1];
  const step = roundStep((most > least ? most - least : Math.abs(most) / 5 || 1) / STEPS);
  let from = Math.floor(least / step) * step;
  let to = Math.ceil(most / step) * step;
  if (to - from < 2 * step) [from, to] = [from - step, to + step];
  if (least >= 0) from = Math.max(0, from);
  if (percent && most <= 100) to = Math.min(100, to);
  return [from, to + (to - from) * EDGE];
}

/** 1, 2, 5, 10, … up to what a number can count. */
export const WHOLE_STEPS: readonly number[] = Array.from({ length: 15 }, (_, power) =>
  [1, 2, 5].map((digit) => digit * 10 ** power),
).flat();

function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return (([1, 2, 5].find((digit) => digit * power >= rough * (1 - 1e-9)) ?? 10) as number) * power;
}

/** Points that no line leads to or from, and that therefore need a dot to be seen. */
export function lonePoints(values: ArrayLike<number | null | undefined>): number[] {
  const has = (index: number): boolean => (values[index] ?? null) !== null;
  return Array.from({ length: values.length }, (_, index) => index).filter(
    (index) => has(index) && !has(index - 1) && !has(index + 1),
  );
}

/** Where a band is known without a gap: first and last index of each such run. */
export function runsOf(band: { lower: readonly (number | null)[]; upper: readonly (number | null)[] }): [number, number][] {
  const runs: [number, number][] = [];
  band.lower.forEach((value, index) => {
    if (value === null || (band.upper[index] ?? null) === null) return;
    const run = runs.at(-1);
    if (run !== undefined && run[1] === index - 1) run[1] = index;
    else runs.push([index, index]);
  });
  return runs;
}
