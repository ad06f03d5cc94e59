/** The two things the wall asks for instead of waiting to be told: what is measured, and what was. */

import { parseCatalog, parseHistory, type Catalog, type History } from "./protocol";

const LIMIT_MS = 10_000;

export async function fetchCatalog(): Promise<Catalog> {
  return parseCatalog(await getJson("/v1/metrics"));
}

/** Answers come oldest first and are cut at a length; with as many of them as this, the newest are usually reached. */
const MOST_PAGES = 8;

/** The points that start in [from, to). `truncated` if that is too many even in several answers. */
export async function fetchHistory(metric: string, window: string, from: number, to: number): Promise<History> {
  const points: History["points"] = [];
  let next = from;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await fetchPage(metric, window, next, to);
    points.push(...answer.points);
    const last = Math.max(next, ...answer.points.slice(-1).map(({ point }) => point.start));
    // The last window may have been cut in two, so it is asked for again. One that fills an answer cannot be passed.
    if (!answer.truncated || last === next) return { points, truncated: answer.truncated };
    next = last;
  }
  return { points, truncated: true };
}

async function fetchPage(metric: string, window: string, from: number, to: number): Promise<History> {
  const query = new URLSearchParams({
    metric,
    window,
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
  });
  return parseHistory(await getJson(`/v1/points?${query}`));
}

async function getJson(path: string): Promise<unknown> {
  const response = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(LIMIT_MS) });
  if (!response.ok) throw new Error(`${path}: expected status 200, found ${response.status}`);
  return response.json();
}
