/** What the wall asks for instead of waiting to be told: which boards there are, what was, and what was a day ago. */

import { parseBoard, parseBoards, type Board, type Boards } from "./board";
import { isRecord, number } from "./json";
import { parseHistory, type History } from "./protocol";

const LIMIT_MS = 10_000;

/** The server answered, and not with what was asked for. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export async function fetchBoards(): Promise<Boards> {
  return parseBoards(await getJson("v1/boards"));
}

export async function fetchBoard(name: string): Promise<Board> {
  return parseBoard(await getJson(`v1/boards/${encodeURIComponent(name)}`));
}

/** What a number was at the same time yesterday, or null where that is not known. */
export async function fetchCompare(query: URLSearchParams): Promise<number | null> {
  const answer = await getJson(`v1/compare?${query}`);
  return isRecord(answer) ? number(answer.value) : null;
}

/** Answers come oldest first and are cut at a length; with as many of them as this, the newest are usually reached. */
const MOST_PAGES = 8;

/** The points that start in [from, to). `truncated` if that is too many even in several answers. */
export async function fetchHistory(
  metric: string,
  window: string,
  from: number,
  to: number,
  dimensions: Readonly<Record<string, string>> = {},
): Promise<History> {
  const points: History["points"] = [];
  let next = from;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await fetchPage(metric, window, next, to, dimensions);
    points.push(...answer.points);
    const last = Math.max(next, ...answer.points.slice(-1).map(({ point }) => point.start));
    // The last window may have been cut in two, so it is asked for again. One that fills an answer cannot be passed.
    if (!answer.truncated || last === next) return { points, truncated: answer.truncated };
    next = last;
  }
  return { points, truncated: true };
}

async function fetchPage(
  metric: string,
  window: string,
  from: number,
  to: number,
  dimensions: Readonly<Record<string, string>>,
): Promise<History> {
  const query = new URLSearchParams({
    ...dimensions,
    metric,
    window,
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
  });
  return parseHistory(await getJson(`v1/points?${query}`));
}

/** `path` is relative to where the server says that its root is, which the page's `<base>` has. */
async function getJson(path: string): Promise<unknown> {
  const response = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(LIMIT_MS) });
  if (!response.ok) throw new Refused(response.status, `${path}: expected status 200, found ${response.status}`);
  return response.json();
}
