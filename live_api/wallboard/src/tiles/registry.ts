/** Which component shows which type of tile: one line a type. */

import type { Component } from "svelte";
import type { Tile, TileType } from "../board";
import AlertsTile from "../components/tiles/AlertsTile.svelte";
import BarTile from "../components/tiles/BarTile.svelte";
import FunnelTile from "../components/tiles/FunnelTile.svelte";
import GaugeTile from "../components/tiles/GaugeTile.svelte";
import HeatmapTile from "../components/tiles/HeatmapTile.svelte";
import LifecycleTile from "../components/tiles/LifecycleTile.svelte";
import LineTile from "../components/tiles/LineTile.svelte";
import ModelTile from "../components/tiles/ModelTile.svelte";
import NumberTile from "../components/tiles/NumberTile.svelte";
import PathsTile from "../components/tiles/PathsTile.svelte";
import RetentionTile from "../components/tiles/RetentionTile.svelte";
import RiskTile from "../components/tiles/RiskTile.svelte";
import SparklineTile from "../components/tiles/SparklineTile.svelte";
import StatusTile from "../components/tiles/StatusTile.svelte";
import TableTile from "../components/tiles/TableTile.svelte";
import TopKTile from "../components/tiles/TopKTile.svelte";
import type { Wall } from "../wall.svelte";

export type TileComponent = Component<{ wall: Wall; tile: Tile }>;

export const TILES: Partial<Record<TileType, TileComponent>> = {
  number: NumberTile,
  sparkline: SparklineTile,
  line: LineTile,
  bar: BarTile,
  table: TableTile,
  top_k: TopKTile,
  gauge: GaugeTile,
  heatmap: HeatmapTile,
  status: StatusTile,
  alerts: AlertsTile,
  retention: RetentionTile,
  funnel: FunnelTile,
  lifecycle: LifecycleTile,
  paths: PathsTile,
  risk: RiskTile,
  model: ModelTile,
};
