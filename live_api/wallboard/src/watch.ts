/** How much of what the rules watch can be judged already: a rule that is still learning has nothing to say. */

export interface Watched {
  series: number;
  learning: number;
}

/** Of all rules together; null where nobody has said. */
export function watchedOf(watch: Readonly<Record<string, Readonly<Record<string, number>>>> | null): Watched | null {
  if (watch === null) return null;
  const found = { series: 0, learning: 0 };
  for (const phases of Object.values(watch)) {
    for (const [phase, count] of Object.entries(phases)) {
      found.series += count;
      if (phase === "learning") found.learning += count;
    }
  }
  return found;
}

/** "still learning: 3 of 24 series"; empty where nothing is, or nobody has said. */
export function learningText(watched: Watched | null): string {
  if (watched === null || watched.learning === 0) return "";
  return `still learning: ${watched.learning} of ${watched.series} series`;
}
