/** What the wall asks for instead of waiting to be told: which boards there are, what was, and what was a day ago. */

import { parseBoard, parseBoards, type Board, type Boards } from "./board";
import { isRecord, number, string, textsOf } from "./json";
import { parsePast, type Past } from "./past";
import { answerIn, type Answer } from "./people";
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

/** What is known of people; `path` has the analysis and its period. */
export async function fetchPeople(path: string): Promise<Answer> {
  return answerIn(await getJson(path));
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

/** A range of the past in windows that fit. A server that cannot give it says why. */
export async function fetchPast(query: URLSearchParams): Promise<Past> {
  const path = `v1/points?${query}`;
  const response = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(LIMIT_MS) });
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return parsePast(answer);
  const detail = isRecord(answer) ? string(answer.detail) : null;
  throw new Refused(response.status, detail ?? `expected status 200, found ${response.status}`);
}

/** A rule, as far as charts need it. */
export interface Rule {
  name: string;
  metric: string;
  window: string;
  /** Which value of several it watches. */
  key: string | null;
}

export async function fetchRules(): Promise<Rule[]> {
  const answer = await getJson("v1/rules");
  if (!isRecord(answer) || !Array.isArray(answer.rules)) throw new TypeError("/v1/rules: expected an object with a list of rules");
  return (answer.rules as unknown[]).flatMap((one) => {
    if (!isRecord(one)) return [];
    const [name, metric, window] = [string(one.name), string(one.metric), string(one.window)];
    return name === null || metric === null || window === null ? [] : [{ name, metric, window, key: string(one.key) }];
  });
}

/** What a rule made of one window of one series. */
export interface Score {
  start: number;
  dimensions: Record<string, string>;
  rule: string;
  lower: number | null;
  upper: number | null;
  /** Out of the ordinary, by a detector that knows what is. */
  anomalous: boolean;
}

export async function fetchScores(
  metric: string,
  window: string,
  from: number,
  to: number,
  dimensions: Readonly<Record<string, string>>,
): Promise<Score[]> {
  const times = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
  const query = new URLSearchParams({ ...dimensions, metric, window, ...times });
  const answer = await getJson(`v1/scores?${query}`);
  if (!isRecord(answer) || !Array.isArray(answer.scores)) throw new TypeError("/v1/scores: expected an object with a list of scores");
  return (answer.scores as unknown[]).flatMap((one) => {
    const start = isRecord(one) ? Date.parse(string(one.start) ?? "") : NaN;
    if (!isRecord(one) || Number.isNaN(start)) return [];
    return {
      start,
      dimensions: textsOf(one.dimensions),
      rule: string(one.rule) ?? "",
      lower: number(one.lower),
      upper: number(one.upper),
      anomalous: one.anomalous === true && one.warm === true,
    };
  });
}

/** Says something about an alert. It is on its way when this returns; what came of it is told on the line. */
export async function sayOf(alert: string, order: string, body: Readonly<Record<string, string>>): Promise<void> {
  const path = `v1/alerts/${encodeURIComponent(alert)}/${order}`;
  const response = await fetch(path, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  if (response.ok) return;
  const answer: unknown = await response.json().catch(() => null);
  const detail = isRecord(answer) ? string(answer.detail) : null;
  throw new Refused(response.status, detail ?? `expected status 202, found ${response.status}`);
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
