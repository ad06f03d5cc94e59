/** What the status tile says of the processor, Valkey and each stream, in words: plain data. */

import type { Line } from "../connection";
import { ageText, exactNumber, shortNumber } from "../format";
import { LATE_MS, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import type { StreamState, System } from "../protocol";
import { worst, type Level } from "../threshold";

export interface Part {
  name: string;
  level: Level;
  /** "counting", "silent for 12 s" */
  words: string;
}

export interface StatusView {
  freshness: Freshness;
  level: Level;
  parts: Part[];
}

export function statusOf(system: System | null, line: Line["state"], moment: Moment): StatusView {
  const parts = [lineOf(line, moment), ...(system === null ? [] : partsOf(system, line, moment))];
  return {
    // What the parts say is what this tile is about; it is out of date only with the line.
    freshness: line === "live" ? (system === null ? "waiting" : "live") : line === "connecting" ? "waiting" : "lost",
    level: worst(parts.map(({ level }) => level)),
    parts,
  };
}

function lineOf(line: Line["state"], { lostForMs }: Moment): Part {
  switch (line) {
    case "live":
      return { name: "Line", level: "ok", words: "live" };
    case "connecting":
      return { name: "Line", level: "none", words: "connecting" };
    default:
      return { name: "Line", level: "critical", words: `lost for ${ageText(lostForMs ?? 0)}` };
  }
}

function partsOf(system: System, line: Line["state"], moment: Moment): Part[] {
  const isKnown = line === "live";
  const parts: Part[] = [
    system.state === "valkey_down"
      ? { name: "Valkey", level: "critical", words: "away" }
      : { name: "Valkey", level: "ok", words: "answers" },
    processorOf(system, moment),
    ...Object.entries(system.streams).map(([name, stream]) => streamOf(name, stream, system)),
  ];
  return isKnown ? parts : parts.map((part) => ({ ...part, level: "none", words: `${part.words}, when last heard` }));
}

function processorOf(system: System, { now }: Moment): Part {
  const seen = system.processorSeenMs;
  if (system.state === "processor_silent") {
    return { name: "Processor", level: "critical", words: seen === null ? "not heard of yet" : `silent for ${ageText(now - seen)}` };
  }
  // Whether it works cannot be told without Valkey, which brings word of it.
  if (system.state === "valkey_down") return { name: "Processor", level: "none", words: "unknown" };
  return { name: "Processor", level: "ok", words: "counting" };
}

function streamOf(name: string, stream: StreamState, system: System): Part {
  if (system.state !== "live") return { name, level: "none", words: "unknown" };
  const lagMs = stream.caughtUp ? 0 : (stream.lagMs ?? 0);
  const waiting = stream.caughtUp ? 0 : (stream.lag ?? 0);
  const words: string[] = [];
  if (lagMs >= LATE_MS) words.push(`${ageText(lagMs)} behind`);
  else words.push(stream.seenMs === null && !stream.caughtUp ? "not read yet" : "keeping up");
  if (waiting > 0 && lagMs >= LATE_MS) words.push(`${shortNumber(waiting)} waiting`);
  if (stream.lost > 0 || stream.gaps > 0) {
    const count = exactNumber(stream.lost);
    words.push(`${stream.lostExact ? count : `at least ${count}`} lost in ${stream.gaps} ${stream.gaps === 1 ? "gap" : "gaps"}`);
  }
  const level = stream.gaps > 0 || lagMs >= 12 * LATE_MS ? "critical" : lagMs >= LATE_MS ? "warning" : "ok";
  return { name, level: stream.gaps > 0 && lagMs < 12 * LATE_MS ? "warning" : level, words: words.join(", ") };
}
