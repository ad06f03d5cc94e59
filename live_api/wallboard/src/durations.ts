/** Window widths as the catalog spells them: "10s", "1m", "1h", "1d". */

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const UNIT_NAMES: Record<string, string> = { ms: "ms", s: "s", m: "min", h: "h", d: "d" };

export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** Width in ms, or null for a window that has none, such as the "total" of the built-in metrics. */
export function windowMs(window: string): number | null {
  const found = /^([1-9]\d*)(ms|s|m|h|d)$/.exec(window);
  return found ? Number(found[1]) * UNITS_MS[found[2]!]! : null;
}

/** For people: "10 s", "1 min", never broken across lines. */
export function windowText(window: string): string {
  const found = /^([1-9]\d*)(ms|s|m|h|d)$/.exec(window);
  return found ? `${found[1]}\u00a0${UNIT_NAMES[found[2]!]}` : window;
}

/** Start of the window of this width that holds `time`: windows start at multiples of their width since the epoch. */
export function windowStart(time: number, width: number): number {
  return Math.floor(time / width) * width;
}
