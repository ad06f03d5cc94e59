/** What a tile needs to know of the world besides its own numbers. */

import type { Zone } from "./format";
import type { SourceState } from "./protocol";

/** What stands between a number and the world: how the line and the server's sources are. */
export type LineState = "connecting" | "live" | "lost" | "source_down";

export interface Moment {
  /** Server time, epoch ms. */
  now: number;
  watermark: number | null;
  /** The time of the latest event of any kind, so far as it is known. */
  lastEvent: number | null;
  line: LineState;
  source: SourceState;
  /** For how long nothing was heard of the server, while the line is lost. */
  lostForMs: number | null;
  /** How far the processor is behind what has been written to the streams; null when it keeps up. */
  behindMs: number | null;
  zone: Zone;
}
