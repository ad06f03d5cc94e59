/** What the wall asks for instead of waiting to be told: which boards there are, what was, and what was a day ago. */

import { parseBoard, parseBoards, type Board, type Boards } from "./board";
import type { Ticket } from "./connection";
import { isRecord, number, string, textsOf } from "./json";
import { parsePast, type Past } from "./past";
import { answerIn, type Answer } from "./people";
import { parseHistory, type History } from "./protocol";
import { EVERYBODY, parseSession, type Session } from "./session";

const LIMIT_MS = 10_000;
const ACCEPT = { accept: "application/json" };

/** The server answered, and not with what was asked for. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

let refusal: () => void = () => {};

/** Calls `act` whenever the server says that whoever looks may not. Returns what ends that. */
export function onRefusal(act: () => void): () => void {
  refusal = act;
  return () => (refusal = () => {});
}

/** Who looks, and what they may. */
export async function fetchSession(): Promise<Session> {
  const response = await fetch("v1/session", { headers: ACCEPT, signal: AbortSignal.timeout(LIMIT_MS) });
  if (response.status === 404) return EVERYBODY;
  if (!response.ok) throw await refusedBy(response, 200);
  return parseSession(await response.json());
}

/** This browser is whoever the key is of, until it logs out. It keeps a cookie that no script can read, not the key. */
export async function logIn(key: string): Promise<void> {
  const response = await sent("POST", "v1/session", { key });
  if (!response.ok) throw await refusedBy(response, 200);
}

export async function logOut(): Promise<void> {
  const response = await sent("DELETE", "v1/session");
  if (!response.ok) throw await refusedBy(response, 204);
}

/** What opens one line, or keeps one open for longer. */
export async function fetchTicket(): Promise<Ticket> {
  const response = await sent("POST", "v1/tickets");
  if (!response.ok) {
    if (isRefusal(response.status)) refusal();
    throw await refusedBy(response, 200);
  }
  const answer: unknown = await response.json();
  const token = isRecord(answer) ? string(answer.ticket) : null;
  const line = isRecord(answer) ? number(answer.line_s) : null;
  if (token === null || line === null) throw new TypeError("/v1/tickets: expected a ticket and line_s");
  return { token, lineMs: line * 1_000 };
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
  const response = await fetch(path, { headers: ACCEPT, signal: AbortSignal.timeout(LIMIT_MS) });
  if (response.ok) return parsePast(await response.json().catch(() => null));
  if (isRefusal(response.status)) refusal();
  throw await refusedBy(response, 200);
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
  const response = await sent("POST", path, body);
  if (response.ok) return;
  if (isRefusal(response.status)) refusal();
  throw await refusedBy(response, 202);
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
  const response = await fetch(path, { headers: ACCEPT, signal: AbortSignal.timeout(LIMIT_MS) });
  if (isRefusal(response.status)) refusal();
  if (!response.ok) throw new Refused(response.status, `${path}: expected status 200, found ${response.status}`);
  return response.json();
}

function sent(method: "POST" | "DELETE", path: string, body?: unknown): Promise<Response> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  if (body === undefined) return fetch(path, { method, headers: ACCEPT, signal });
  return fetch(path, { method, headers: { ...ACCEPT, "content-type": "application/json" }, body: JSON.stringify(body), signal });
}

/** Whether a status says that it is for somebody else to ask. */
function isRefusal(status: number): boolean {
  return status === 401 || status === 403;
}

/** What the server said of why not. */
async function refusedBy(response: Response, expected: number): Promise<Refused> {
  const answer: unknown = await response.json().catch(() => null);
  const detail = isRecord(answer) ? string(answer.detail) : null;
  return new Refused(response.status, detail ?? `expected status ${expected}, found ${response.status}`);
}
