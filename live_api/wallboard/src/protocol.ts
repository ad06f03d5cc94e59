/** What the hub and the REST API say, as types, and the parsing that turns text from the network into them. */

import { parseAlerts, type Alert } from "./alerts";
import { isRecord, number, numbersOf, string, textsOf } from "./json";

/** One number, or one a key for measures that give several (quantiles, top lists). */
export type Value = number | Readonly<Record<string, number>>;

export type PointState = "open" | "final" | "corrected";

/** One window of one series. `start` is epoch ms; `value` is the whole window's value so far, never an increment. */
export interface Point {
  start: number;
  value: Value;
  count: number;
  state: PointState;
  revision: number;
  /** How far off the value may be, as a share of it; null or left out where it is exact. */
  error?: number | null;
}

/** A point as sent: null means that the window has no value (any more). */
export type SentPoint = Omit<Point, "value"> & { value: Value | null };

export interface SentSeries {
  metric: string;
  window: string;
  dimensions: Record<string, string>;
  points: SentPoint[];
}

export type SourceState = "live" | "processor_silent" | "valkey_down";

export interface StreamState {
  /** Entries that wait to be read, or for how long the oldest of them has; a server tells one or the other. */
  lag: number | null;
  lagMs: number | null;
  caughtUp: boolean;
  /** When the processor last spoke of it. */
  seenMs: number | null;
  maxEventMs: number | null;
  /** How often entries were gone before they were read, and how many those were: at least, unless `lostExact`. */
  gaps: number;
  lost: number;
  lostExact: boolean;
}

export interface System {
  state: SourceState;
  processorSeenMs: number | null;
  watermarkMs: number | null;
  streams: Record<string, StreamState>;
  /** How many series of each rule are in which state; null where nobody has said. */
  watch: Record<string, Record<string, number>> | null;
  rejects: Record<string, number> | null;
  rejectedTotal: number | null;
}

/** What a snapshot and an update have in common. */
export interface Frame {
  t: number;
  /** Where this leaves the client: what `hello` resumes from. Null from a server that does not say. */
  seq: number | null;
  series: Map<string, SentSeries>;
  system: System | null;
  /** By id. Null when the frame says nothing of alerts, which is not the same as none. */
  alerts: Map<string, Alert> | null;
}

export type ServerMessage =
  /** `wall`: digest of the page that the server gives out; null from a server that does not say. */
  | { op: "welcome"; epoch: string; heartbeatS: number; version: string; resumed: boolean; wall: string | null }
  | ({ op: "snapshot"; epoch: string | null } & Frame)
  | ({ op: "update" } & Frame)
  | { op: "heartbeat"; t: number; seq: number | null }
  | { op: "ok"; id: number | null }
  | { op: "error"; code: string; message: string; id: number | null }
  | { op: "bye"; retryInMs: number | null }
  | { op: "reload"; withinMs: number | null };

export interface History {
  points: { dimensions: Record<string, string>; point: Point }[];
  truncated: boolean;
}

const DEFAULT_HEARTBEAT_S = 5;

export function helloMessage(topics: readonly string[], resume: string | null, token: string | null = null): string {
  return JSON.stringify({ op: "hello", topics, ...(resume !== null && { resume }), ...(token !== null && { token }) });
}

/** That the line is to last longer. */
export function refreshMessage(id: number, token: string): string {
  return JSON.stringify({ op: "refresh", id, token });
}

export function topicsMessage(op: "subscribe" | "unsubscribe", id: number, topics: readonly string[]): string {
  return JSON.stringify({ op, id, topics });
}

/** The message in a frame, or null for one this page does not know: a newer server may say more than it did. */
export function parseMessage(text: string): ServerMessage | null {
  let sent: unknown;
  try {
    sent = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(sent)) return null;
  switch (sent.op) {
    case "welcome": {
      const heartbeat = number(sent.heartbeat_s);
      return {
        op: "welcome",
        epoch: string(sent.epoch) ?? "",
        heartbeatS: heartbeat !== null && heartbeat > 0 ? heartbeat : DEFAULT_HEARTBEAT_S,
        version: string(sent.version) ?? "",
        resumed: sent.resumed === true,
        wall: string(sent.wall),
      };
    }
    case "snapshot": {
      const frame = parseFrame(sent);
      return frame === null ? null : { op: "snapshot", epoch: string(sent.epoch), ...frame };
    }
    case "update": {
      const frame = parseFrame(sent);
      return frame === null ? null : { op: "update", ...frame };
    }
    case "heartbeat": {
      const t = number(sent.t);
      return t === null ? null : { op: "heartbeat", t, seq: number(sent.seq) };
    }
    case "ok":
      return { op: "ok", id: number(sent.id) };
    case "error":
      return { op: "error", code: string(sent.code) ?? "unknown", message: string(sent.message) ?? "", id: number(sent.id) };
    case "bye":
      return { op: "bye", retryInMs: number(sent.retry_in_ms) };
    case "reload":
      return { op: "reload", withinMs: number(sent.within_ms) };
    default:
      return null;
  }
}

export function parseHistory(sent: unknown): History {
  if (!isRecord(sent) || !Array.isArray(sent.points)) {
    throw new TypeError("/v1/points: expected an object with a list of points");
  }
  const points: History["points"] = [];
  for (const one of sent.points as unknown[]) {
    if (!isRecord(one)) continue;
    const start = typeof one.start === "string" ? Date.parse(one.start) : one.start;
    const point = parsePoint([start, one.value, one.count, one.state, one.revision, one.error]);
    if (point === null || point.value === null) continue;
    points.push({ dimensions: textsOf(one.dimensions), point: { ...point, value: point.value } });
  }
  return { points, truncated: sent.truncated === true };
}

function parseFrame(sent: Record<string, unknown>): Frame | null {
  const t = number(sent.t);
  if (t === null) return null;
  return {
    t,
    seq: number(sent.seq),
    series: parseSeriesMap(sent.series),
    system: parseSystem(sent.system),
    alerts: parseAlerts(sent.alerts),
  };
}

function parseSeriesMap(sent: unknown): Map<string, SentSeries> {
  const found = new Map<string, SentSeries>();
  if (!isRecord(sent)) return found;
  for (const [key, one] of Object.entries(sent)) {
    if (!isRecord(one) || typeof one.metric !== "string" || typeof one.window !== "string") continue;
    if (!Array.isArray(one.points)) continue;
    found.set(key, {
      metric: one.metric,
      window: one.window,
      dimensions: textsOf(one.dimensions),
      points: (one.points as unknown[]).flatMap((point) => parsePoint(point) ?? []),
    });
  }
  return found;
}

function parsePoint(sent: unknown): SentPoint | null {
  if (!Array.isArray(sent)) return null;
  const [start, value, count, state, revision, error] = sent as unknown[];
  const startMs = number(start);
  const parsed = number(value) ?? numbersOf(value);
  if (startMs === null || (value !== null && parsed === null)) return null;
  if (state !== "open" && state !== "final" && state !== "corrected") return null;
  return {
    start: startMs,
    value: parsed,
    count: number(count) ?? 0,
    state,
    revision: number(revision) ?? 0,
    error: number(error),
  };
}

/** The one number of a value: itself, or of several the one under `key`. Null where there is no such. */
export function numberIn(value: Value, key: string | null): number | null {
  return typeof value === "number" ? value : key === null ? null : (value[key] ?? null);
}

function parseWatch(sent: unknown): Record<string, Record<string, number>> | null {
  if (!isRecord(sent)) return null;
  return Object.fromEntries(Object.entries(sent).map(([rule, series]) => [rule, numbersOf(series) ?? {}]));
}

function parseSystem(sent: unknown): System | null {
  if (!isRecord(sent)) return null;
  const streams: Record<string, StreamState> = {};
  for (const [name, one] of Object.entries(isRecord(sent.streams) ? sent.streams : {})) {
    if (!isRecord(one)) continue;
    streams[name] = {
      lag: number(one.lag),
      lagMs: number(one.lag_ms),
      caughtUp: one.caught_up === true,
      seenMs: number(one.seen_ms),
      maxEventMs: number(one.max_event_ms),
      gaps: number(one.gaps) ?? 0,
      lost: number(one.lost) ?? 0,
      lostExact: one.lost_exact !== false,
    };
  }
  const state = sent.state;
  return {
    state: state === "processor_silent" || state === "valkey_down" ? state : "live",
    processorSeenMs: number(sent.processor_seen_ms),
    watermarkMs: number(sent.watermark_ms),
    streams,
    watch: parseWatch(sent.watch),
    rejects: numbersOf(sent.rejects),
    rejectedTotal: number(sent.rejected_total),
  };
}
