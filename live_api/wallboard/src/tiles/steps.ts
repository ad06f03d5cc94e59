/** A scale in a few steps, for colours: who reads a map of colours compares with a legend, and seven are as many as one can. */

export interface Steps {
  /** Lower ends of the steps and the upper end of the last, ascending: one more than there are steps. */
  edges: number[];
  /** Which step is the first at or above zero; as many below it are drawn in the colour of the negative. */
  zeroAt: number;
}

const STEPS = 6;
/** With values from 1 to 900, equal steps would show one bright cell on a dark field. */
const SKEWED = 8;

/**
 * From `least` to `most`, in steps that are equal, or where most values are far below the largest, as wide as the
 * squares of 1, 2, 3… Ends are round numbers, so that the scale does not move with every event.
 */
export function stepsOf(values: readonly number[], fromZero: boolean): Steps {
  if (values.length === 0) return { edges: [0, 1], zeroAt: 0 };
  let least = Infinity;
  let most = -Infinity;
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  if (least < 0) {
    const half = STEPS / 2;
    const width = roundUp(Math.max(-least, most) / half);
    const above = Array.from({ length: half }, (_, index) => rounded(width * (index + 1)));
    return most <= 0
      ? { edges: [...above.toReversed().map((edge) => -edge), 0], zeroAt: half }
      : { edges: [...above.toReversed().map((edge) => -edge), 0, ...above], zeroAt: half };
  }
  if (fromZero || least < most / 3) {
    const typical = middle(values.filter((value) => value > 0));
    const isSkewed = typical > 0 && most / typical >= SKEWED;
    const top = roundUp(most);
    const width = roundUp(most / STEPS);
    const isWhole = values.every(Number.isInteger);
    const edges = [0];
    for (let step = 1; step <= STEPS; step += 1) {
      const edge = isSkewed ? roundUp(top * (step / STEPS) ** 2) : rounded(step * width);
      // Between 3 and 4 events there is nothing to tell apart.
      edges.push(isWhole ? Math.max(edges.at(-1)! + 1, Math.ceil(isSkewed ? edge : step * Math.ceil(width))) : edge);
    }
    return { edges, zeroAt: 0 };
  }
  const width = roundUp((most - least) / (STEPS - 1) || Math.abs(most) / STEPS || 1);
  const from = Math.floor(least / width) * width;
  return { edges: Array.from({ length: STEPS + 1 }, (_, index) => rounded(from + index * width)), zeroAt: 0 };
}

/** The step of a value; what is beyond the ends is in the outermost. */
export function stepOf({ edges }: Steps, value: number): number {
  let step = 0;
  while (step < edges.length - 2 && value >= edges[step + 1]!) step += 1;
  return step;
}

/** The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, … */
export function roundUp(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((one) => one * power >= value * (1 - 1e-9)) ?? 10;
  return rounded(digit * power);
}

/** Without the dust of binary fractions. */
function rounded(value: number): number {
  return Number(value.toPrecision(12));
}

function middle(values: number[]): number {
  values.sort((one, other) => one - other);
  return values[Math.floor(values.length / 2)] ?? 0;
}
