/**
 * Fits a board on a screen: nobody scrolls a television. Text is as large as the screen's size suggests, and smaller only
 * where that brings all panels into view; a board that is too much even so keeps its size and scrolls.
 */

export interface Layout {
  /** Size of a rem, px. */
  remPx: number;
  tileColumns: number;
  chartColumns: number;
}

export interface Screen {
  width: number;
  height: number;
  /** What the style sheet makes of a rem on this screen, px. */
  baseRemPx: number;
}

/** Smaller than this, labels cannot be read from a few metres any more. */
export const LEAST_REM_PX = 13;
const STEP_PX = 0.5;

// What the style sheets say, in rem.
const GAP = 0.9;
const TILE_WIDTH = 15;
const TILE_HEIGHT_WITHOUT_NUMBER = 11.2;
const CHART_WIDTH = 30;
const CHART_HEIGHT = 15;
const HEADER_AND_BANNER = 8;
const MARGINS = 1.6;

export function layoutFor(tiles: number, charts: number, screen: Screen): Layout {
  for (let remPx = screen.baseRemPx; remPx >= LEAST_REM_PX; remPx -= STEP_PX) {
    const layout = columnsAt(tiles, charts, screen.width, remPx);
    if (heightOf(tiles, charts, screen.width, layout) <= screen.height) return layout;
  }
  return columnsAt(tiles, charts, screen.width, screen.baseRemPx);
}

function columnsAt(tiles: number, charts: number, width: number, remPx: number): Layout {
  const inner = width / remPx - 2 * MARGINS;
  return { remPx, tileColumns: columnsFor(tiles, inner, TILE_WIDTH), chartColumns: columnsFor(charts, inner, CHART_WIDTH) };
}

/** As many columns as are legible, and no row much emptier than the others. */
function columnsFor(panels: number, width: number, least: number): number {
  const fitting = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const rows = Math.max(1, Math.ceil(panels / fitting));
  return Math.max(1, Math.ceil(panels / rows));
}

function heightOf(tiles: number, charts: number, width: number, { remPx, tileColumns, chartColumns }: Layout): number {
  const tileWidth = (width / remPx - 2 * MARGINS - (tileColumns - 1) * GAP) / tileColumns;
  const number = 1.1 * Math.min(6.5, Math.max(2.2, 0.215 * tileWidth));
  const tileRows = Math.ceil(tiles / tileColumns);
  const chartRows = Math.ceil(charts / chartColumns);
  const tileHeight = tileRows * (TILE_HEIGHT_WITHOUT_NUMBER + number + GAP);
  return remPx * (HEADER_AND_BANNER + tileHeight + chartRows * (CHART_HEIGHT + GAP));
}
