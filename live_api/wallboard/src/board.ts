/** Boards as `/v1/boards` and `/v1/boards/{name}` tell of them: which tiles stand where, and what each is about. */

import { isRecord, number, oneOf, string, texts, textsOf } from "./json";

export const TILE_TYPES = [
  "number",
  "sparkline",
  "line",
  "bar",
  "table",
  "top_k",
  "gauge",
  "heatmap",
  "status",
  "alerts",
  "retention",
  "funnel",
  "lifecycle",
  "paths",
  "risk",
  "model",
] as const;
export type TileType = (typeof TILE_TYPES)[number];

const COMPARES = ["yesterday", "target", "none"] as const;
export type Compare = (typeof COMPARES)[number];

export interface MetricInfo {
  name: string;
  title: string;
  measure: string;
  by: readonly string[];
  windows: readonly string[];
  unit: string | null;
  description: string | null;
  target: number | null;
}

export interface Tile {
  id: string;
  type: TileType;
  title: string;
  unit: string | null;
  metric: MetricInfo | null;
  /** Whose value is shown. */
  window: string | null;
  /** What history, sparkline and lines are drawn from. */
  fine: string | null;
  /** Only series that have these. */
  dimensions: Readonly<Record<string, string>>;
  /** Cells of a grid of twelve columns. */
  width: number;
  height: number;
  compare: Compare;
  target: number | null;
  warning: number | null;
  critical: number | null;
  limit: number;
  min: number | null;
  max: number | null;
  /** Which value, of a metric that has several a point. */
  key: string | null;
  /** What is asked for instead of a metric, and with which period. */
  analysis: string | null;
  period: string | null;
  /** The metric that says where the lines go on, in the window that they are drawn from. */
  forecast: string | null;
}

export interface Board {
  name: string;
  title: string;
  /** Made from the catalog, which declares no board. */
  derived: boolean;
  platform: Platform;
  tiles: readonly Tile[];
  /** Tiles that are not for whoever looks. */
  leftOut: number;
}

export interface Platform {
  name: string;
  timezone: string;
}

export interface BoardName {
  name: string;
  title: string;
  derived: boolean;
}

export interface Boards {
  boards: readonly BoardName[];
  /** The one at `/`. */
  default: string;
}

/** What somebody has to be allowed for a tile to show anything, besides seeing numbers; null where that is enough. */
export function permissionOf(tile: Tile): string | null {
  if (tile.analysis === null) return null;
  return tile.type === "risk" || tile.type === "model" ? "predictions" : "view_behaviour";
}

export const COLUMNS = 12;
const MOST_ROWS = 24;
const DEFAULT_LIMIT = 10;

export function parseBoards(sent: unknown): Boards {
  if (!isRecord(sent) || !Array.isArray(sent.boards)) {
    throw new TypeError("/v1/boards: expected an object with a list of boards");
  }
  const boards = (sent.boards as unknown[]).flatMap((one) => {
    if (!isRecord(one) || typeof one.name !== "string") return [];
    return [{ name: one.name, title: string(one.title) ?? one.name, derived: one.derived === true }];
  });
  const first = string(sent.default) ?? boards[0]?.name;
  if (first === undefined) throw new TypeError("/v1/boards: expected at least one board, found none");
  return { boards, default: first };
}

/** A tile of a type this page does not know is left out: a newer server may have more of them. */
export function parseBoard(sent: unknown): Board {
  if (!isRecord(sent) || typeof sent.name !== "string" || !Array.isArray(sent.tiles)) {
    throw new TypeError("/v1/boards/{name}: expected an object with a name and a list of tiles");
  }
  const platform = isRecord(sent.platform) ? sent.platform : {};
  return {
    name: sent.name,
    title: string(sent.title) ?? sent.name,
    derived: sent.derived === true,
    platform: { name: string(platform.name) ?? "streamgauge", timezone: string(platform.timezone) ?? "UTC" },
    tiles: (sent.tiles as unknown[]).flatMap((one, index) => parseTile(one, index) ?? []),
    leftOut: number(sent.left_out) ?? 0,
  };
}

function parseTile(sent: unknown, index: number): Tile | null {
  if (!isRecord(sent)) return null;
  const type = oneOf(TILE_TYPES, sent.type);
  if (type === null) return null;
  const metric = parseMetric(sent.metric);
  return {
    id: string(sent.id) ?? `t${index}`,
    type,
    title: string(sent.title) ?? metric?.title ?? "",
    unit: string(sent.unit) ?? metric?.unit ?? null,
    metric,
    window: string(sent.window),
    fine: string(sent.fine) ?? string(sent.window),
    dimensions: textsOf(sent.dimensions),
    width: cells(sent.width, COLUMNS),
    height: cells(sent.height, MOST_ROWS),
    compare: oneOf(COMPARES, sent.compare) ?? "none",
    target: number(sent.target),
    warning: number(sent.warning),
    critical: number(sent.critical),
    limit: Math.max(1, Math.round(number(sent.limit) ?? DEFAULT_LIMIT)),
    min: number(sent.min),
    max: number(sent.max),
    key: string(sent.key),
    analysis: string(sent.analysis),
    period: string(sent.period),
    forecast: string(sent.forecast),
  };
}

export function parseMetric(sent: unknown): MetricInfo | null {
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

function cells(sent: unknown, most: number): number {
  return Math.min(most, Math.max(1, Math.round(number(sent) ?? 3)));
}
