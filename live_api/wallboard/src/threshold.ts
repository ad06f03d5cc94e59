/** How bad a value is. Never told by colour alone: each level has a shape and a word as well. */

import type { Freshness } from "./freshness";

export type Level = "ok" | "warning" | "critical" | "none";

export interface Look {
  /** As it stands on the wall and is read aloud. */
  word: string;
  /** Path in a box of 24 by 24: a disc, a triangle and an octagon, which differ also without colour. */
  shape: string;
  /** Okabe and Ito's bluish green, orange and vermillion, as the style sheet adapts them to its ground. */
  colour: string;
}

export const LOOKS: Readonly<Record<Exclude<Level, "none">, Look>> = {
  ok: { word: "ok", shape: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18z", colour: "var(--level-ok)" },
  warning: { word: "warning", shape: "M12 2.5L23 21.5H1z", colour: "var(--level-warning)" },
  critical: {
    word: "critical",
    shape: "M7.8 1.8h8.4l6 6v8.4l-6 6H7.8l-6-6V7.8z",
    colour: "var(--level-critical)",
  },
};

const ORDER: readonly Level[] = ["none", "ok", "warning", "critical"];

export interface Thresholds {
  warning: number | null;
  critical: number | null;
}

/**
 * A threshold is passed when it is reached. `warning` below `critical` means that high is bad, above it that low is;
 * where there is only one of them, high is bad. Without a threshold or a value nothing is said, and not that all is well.
 */
export function levelOf(value: number | null, { warning, critical }: Thresholds): Level {
  if (value === null || Number.isNaN(value) || (warning === null && critical === null)) return "none";
  const lowIsBad = warning !== null && critical !== null && warning > critical;
  const passed = (limit: number | null): boolean => limit !== null && (lowIsBad ? value <= limit : value >= limit);
  if (passed(critical)) return "critical";
  return passed(warning) ? "warning" : "ok";
}

/** The worst of several: what a tile of many values says of itself. */
export function worst(levels: Iterable<Level>): Level {
  let found: Level = "none";
  for (const level of levels) if (ORDER.indexOf(level) > ORDER.indexOf(found)) found = level;
  return found;
}

/**
 * The level that may be shown of a value so current. What was before the line was lost says nothing of now; what is only
 * old or late may still be bad, but nobody knows that it is still well.
 */
export function levelWhen(freshness: Freshness, level: Level): Level {
  switch (freshness) {
    case "live":
      return level;
    case "stale":
    case "late":
      return level === "ok" ? "none" : level;
    default:
      return "none";
  }
}
