/** Reads what came from the network without believing it: each returns what it asks for, or null or nothing. */

export function isRecord(sent: unknown): sent is Record<string, unknown> {
  return typeof sent === "object" && sent !== null && !Array.isArray(sent);
}

export function number(sent: unknown): number | null {
  return typeof sent === "number" && Number.isFinite(sent) ? sent : null;
}

/** An empty text is as good as none. */
export function string(sent: unknown): string | null {
  return typeof sent === "string" && sent !== "" ? sent : null;
}

export function texts(sent: unknown): string[] {
  return Array.isArray(sent) ? sent.filter((one) => typeof one === "string") : [];
}

export function textsOf(sent: unknown): Record<string, string> {
  if (!isRecord(sent)) return {};
  return Object.fromEntries(Object.entries(sent).map(([name, value]) => [name, String(value)]));
}

export function numbersOf(sent: unknown): Record<string, number> | null {
  if (!isRecord(sent)) return null;
  const found = Object.entries(sent).filter((pair): pair is [string, number] => number(pair[1]) !== null);
  return Object.fromEntries(found);
}

/** One of a closed set of words. */
export function oneOf<T extends string>(words: readonly T[], sent: unknown): T | null {
  return words.find((word) => word === sent) ?? null;
}
