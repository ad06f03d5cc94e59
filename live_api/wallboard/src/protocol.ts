/** What the hub and the REST API say, as types, and the parsing that turns text from the network into them. */

export type PointState = "open" | "final" | "corrected";

/** One window of one series. `start` is epoch ms; `value` is the whole window's value so far, never an increment. */
export interface Point {
  start: number;
  value: number;
  count: number;
  state: PointState;
  revision: number;
}

/** A point as sent: null means that the window has no value (any more). */
export type SentPoint = Omit<Point, "value"> & { value: number | null };

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
  maxEventMs: number | null;
}

export interface System {
  state: SourceState;
  processorSeenMs: number | null;
  watermarkMs: number | null;
  streams: Record<string, StreamState>;
  rejects: Record<string, number> | null;
  rejectedTotal: number | null;
}

export type ServerMessage =
  | { op: "welcome"; epoch: string; heartbeatS: number; version: string }
  | { op: "snapshot"; t: number; series: Map<string, SentSeries>; system: System | null }
  | { op: "update"; t: number; series: Map<string, SentSeries>; system: System | null }
  | { op: "heartbeat"; t: number }
  | { op: "error"; code: string; message: string }
  | { op: "bye"; retryInMs: number | null }
  | { op: "reload" };

export interface Metric {
  name: string;
  title: string;
  measure: string;
  by: string[];
  windows: string[];
  unit: string | null;
  description: string | null;
  target: number | null;
}

export interface Catalog {
  platform: string;
  timezone: string;
  metrics: Metric[];
  rejects: Record<string, number> | null;
  rejectedTotal: number | null;
}

export interface History {
  points: { dimensions: Record<string, string>; point: Point }[];
  truncated: boolean;
}

const DEFAULT_HEARTBEAT_S = 5;

export function helloMessage(): string {
  return JSON.stringify({ op: "hello", topics: ["metric:*", "system"] });
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
      };
    }
    case "snapshot":
    case "update": {
      const t = number(sent.t);
      if (t === null) return null;
      return { op: sent.op, t, series: parseSeriesMap(sent.series), system: parseSystem(sent.system) };
    }
    case "heartbeat": {
      const t = number(sent.t);
      return t === null ? null : { op: "heartbeat", t };
    }
    case "error":
      return { op: "error", code: string(sent.code) ?? "unknown", message: string(sent.message) ?? "" };
    case "bye":
      return { op: "bye", retryInMs: number(sent.retry_in_ms) };
    case "reload":
      return { op: "reload" };
    default:
      return null;
  }
}

export function parseCatalog(sent: unknown): Catalog {
  if (!isRecord(sent) || !Array.isArray(sent.metrics)) {
    throw new TypeError("/v1/metrics: expected an object with a list of metrics");
  }
  const platform = isRecord(sent.platform) ? sent.platform : {};
  return {
    platform: string(platform.name) ?? "streamgauge",
    timezone: string(platform.timezone) ?? "UTC",
    metrics: sent.metrics.flatMap((one) => parseMetric(one) ?? []),
    rejects: numbersOf(sent.rejects),
    rejectedTotal: number(sent.rejected_total),
  };
}

export function parseHistory(sent: unknown): History {
  if (!isRecord(sent) || !Array.isArray(sent.points)) {
    throw new TypeError("/v1/points: expected an object with a list of points");
  }
  const points: History["points"] = [];
  for (const one of sent.points as unknown[]) {
    if (!isRecord(one)) continue;
    const start = typeof one.start === "string" ? Date.parse(one.start) : one.start;
    const point = parsePoint([start, one.value, one.count, one.state, one.revision]);
    if (point === null || point.value === null) continue;
    points.push({ dimensions: textsOf(one.dimensions), point: { ...point, value: point.value } });
  }
  return { points, truncated: sent.truncated === true };
}

function parseMetric(sent: unknown): Metric | null {
  if (!isRecord(sent) || typeof sent.name !== "string") return null;
  return {
    name: sent.name,
    title: string(sent.title) ?? sent.name,
    measure: string(sent.measure) ?? "count",
    by: texts(sent.by),
    windows: texts(sent.windows),
    unit: string(sent.unit),
    description: string(sent.description),
    target: number(sent.target),
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

/** Points whose value is an object (quantiles, top lists) are left out: no panel of this board can show them yet. */
function parsePoint(sent: unknown): SentPoint | null {
  if (!Array.isArray(sent)) return null;
  const [start, value, count, state, revision] = sent as unknown[];
  const startMs = number(start);
  if (startMs === null || (value !== null && number(value) === null)) return null;
  if (state !== "open" && state !== "final" && state !== "corrected") return null;
  return { start: startMs, value: number(value), count: number(count) ?? 0, state, revision: number(revision) ?? 0 };
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
      maxEventMs: number(one.max_event_ms),
    };
  }
  const state = sent.state;
  return {
    state: state === "processor_silent" || state === "valkey_down" ? state : "live",
    processorSeenMs: number(sent.processor_seen_ms),
    watermarkMs: number(sent.watermark_ms),
    streams,
    rejects: numbersOf(sent.rejects),
    rejectedTotal: number(sent.rejected_total),
  };
}

function isRecord(sent: unknown): sent is Record<string, unknown> {
  return typeof sent === "object" && sent !== null && !Array.isArray(sent);
}

function number(sent: unknown): number | null {
  return typeof sent === "number" && Number.isFinite(sent) ? sent : null;
}

function string(sent: unknown): string | null {
  return typeof sent === "string" && sent !== "" ? sent : null;
}

function texts(sent: unknown): string[] {
  return Array.isArray(sent) ? sent.filter((one) => typeof one === "string") : [];
}

function textsOf(sent: unknown): Record<string, string> {
  if (!isRecord(sent)) return {};
  return Object.fromEntries(Object.entries(sent).map(([name, value]) => [name, String(value)]));
}

function numbersOf(sent: unknown): Record<string, number> | null {
  if (!isRecord(sent)) return null;
  const found = Object.entries(sent).filter((pair): pair is [string, number] => number(pair[1]) !== null);
  return Object.fromEntries(found);
}
