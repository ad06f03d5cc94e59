/**
 * Places a board's tiles on a grid and fits it on a screen: nobody scrolls a television. Text is as large as the screen's
 * size suggests, and smaller only where that brings all tiles into view; a board that is too much even so scrolls.
 */

import { COLUMNS, type Tile } from "./board";

/** Cells counted from 1, as style sheets count them. */
export interface Place {
  tile: Tile;
  column: number;
  row: number;
  width: number;
  height: number;
}

export interface Layout {
  /** Size of a rem, px. */
  remPx: number;
  columns: number;
  rows: number;
  /** In reading order, which is also the order in which they get the focus. */
  places: Place[];
  /** All of it is on the screen at once. */
  fits: boolean;
}

export interface Screen {
  width: number;
  /** What the header leaves for tiles. */
  height: number;
  /** What the style sheet makes of a rem on this screen, px. */
  baseRemPx: number;
}

/** Smaller than this, labels cannot be read from a few metres any more. */
export const LEAST_REM_PX = 13;
const STEP_PX = 0.5;
/** A row of cells that is less high than this, in rem, has no room for a number with its title. */
export const LEAST_ROW_REM = 4.3;
const GAP_REM = 0.7;
/** Below these widths, in rem, there are fewer columns. */
const NARROW_REM = 62;
const PHONE_REM = 34;

export function layoutFor(tiles: readonly Tile[], screen: Screen, fill = false): Layout {
  for (let remPx = screen.baseRemPx; remPx >= LEAST_REM_PX; remPx -= STEP_PX) {
    const layout = layoutAt(tiles, screen, remPx, fill);
    if (layout.fits) return layout;
  }
  return layoutAt(tiles, screen, screen.baseRemPx, fill);
}

function layoutAt(tiles: readonly Tile[], { width, height }: Screen, remPx: number, fill: boolean): Layout {
  const columns = width / remPx >= NARROW_REM ? COLUMNS : width / remPx >= PHONE_REM ? COLUMNS / 2 : 2;
  const places = placesOf(tiles, columns, fill);
  const rows = Math.max(1, ...places.map((place) => place.row + place.height - 1));
  return { remPx, columns, rows, places, fits: rows * LEAST_ROW_REM + (rows - 1) * GAP_REM <= height / remPx };
}

/**
 * Each tile in the first place it fits, in the board's order, so that a small one fills the hole a large one left. With
 * `fill`, tiles also grow to the right over cells that nothing stands in.
 */
export function placesOf(tiles: readonly Tile[], columns: number, fill = false): Place[] {
  const taken: boolean[][] = [];
  const isFree = (column: number, row: number, width: number, height: number): boolean => {
    for (let y = row; y < row + height; y += 1) {
      for (let x = column; x < column + width; x += 1) if (taken[y]?.[x]) return false;
    }
    return true;
  };
  const take = ({ column, row, width, height }: Place): void => {
    for (let y = row; y < row + height; y += 1) {
      const line = (taken[y] ??= []);
      for (let x = column; x < column + width; x += 1) line[x] = true;
    }
  };
  const places = tiles.map((tile): Place => {
    const width = Math.min(columns, widthOn(columns, tile.width));
    for (let row = 1; ; row += 1) {
      for (let column = 1; column + width - 1 <= columns; column += 1) {
        if (!isFree(column, row, width, tile.height)) continue;
        const place = { tile, column, row, width, height: tile.height };
        take(place);
        return place;
      }
    }
  });
  places.sort((one, other) => one.row - other.row || one.column - other.column);
  if (fill) {
    for (const place of places) {
      while (place.column + place.width <= columns && isFree(place.column + place.width, place.row, 1, place.height)) {
        place.width += 1;
        take(place);
      }
    }
  }
  return places;
}

function widthOn(columns: number, width: number): number {
  if (columns === COLUMNS) return width;
  if (columns === 2) return width <= 3 ? 1 : 2;
  return Math.ceil((width * columns) / COLUMNS);
}
