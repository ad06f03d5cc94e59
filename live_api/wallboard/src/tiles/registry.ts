/** Which component shows which type of tile: one line a type. */

import type { Component } from "svelte";
import type { Tile, TileType } from "../board";
import LineTile from "../components/tiles/LineTile.svelte";
import NumberTile from "../components/tiles/NumberTile.svelte";
import SparklineTile from "../components/tiles/SparklineTile.svelte";
import StatusTile from "../components/tiles/StatusTile.svelte";
import type { Wall } from "../wall.svelte";

export type TileComponent = Component<{ wall: Wall; tile: Tile }>;

export const TILES: Partial<Record<TileType, TileComponent>> = {
  number: NumberTile,
  sparkline: SparklineTile,
  line: LineTile,
  status: StatusTile,
};
