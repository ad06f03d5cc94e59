/** What the status tile says of the processor, Valkey and each stream, in words: plain data. */

import type { Line } from "../connection";
import { ageText, exactNumber, shortNumber } from "../format";
import { freshnessText, LATE_MS, type Freshness } from "../freshness";
import type { Moment } from "../moment";
import type { StreamState, System } from "../protocol";
import { worst, type Level } from "../threshold";
import type { NumberView } from "./number";

/** Past it, being behind is not a passing thing. */
const FAR_BEHIND_MS = 60_000;

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

/** `about`: the tile's own metric, when it has one, which then stands first. */
export function statusOf(system: System | null, line: Line["state"], moment: Moment, about: Part | null = null): StatusView {
  const parts = [
    ...(about === null ? [] : [about]),
    lineOf(line, moment),
    ...(system === null ? [] : partsOf(system, line, moment)),
  ];
  return {
    // What the parts say is what this tile is about; it is out of date only with the line.
    freshness: line === "live" ? (system === null ? "waiting" : "live") : line === "connecting" ? "waiting" : "lost",
    level: worst(parts.map(({ level }) => level)),
    parts,
  };
}

/** A metric in words: what it says of itself, or why it cannot. */
export function aboutOf(name: string, view: NumberView, moment: Moment): Part {
  const trouble = freshnessText(view.freshness, view.ageMs, moment);
  const value = view.value === null ? [] : [view.unit === null ? view.value : `${view.value} ${view.unit}`];
  const level = view.freshness === "live" ? (view.level === "none" ? "ok" : view.level) : view.freshness === "waiting" ? "none" : "warning";
  return { name, level, words: [...value, trouble ?? "current"].join(", ") };
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
  const parts: Part[] = [
    system.state === "valkey_down"
      ? { name: "Valkey", level: "critical", words: "away" }
      : { name: "Valkey", level: "ok", words: "answers" },
    processorOf(system, moment),
    ...Object.entries(system.streams).map(([name, stream]) => streamOf(name, stream, system)),
  ];
  return line === "live" ? parts : parts.map(({ name }) => ({ name, level: "none", words: "unknown" }));
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
  if (stream.seenMs === null) return { name, level: "none", words: "not read yet" };
  const behindMs = stream.caughtUp ? 0 : (stream.lagMs ?? 0);
  const words = [behindMs >= LATE_MS ? `${ageText(behindMs)} behind` : "keeping up"];
  if (behindMs >= LATE_MS && (stream.lag ?? 0) > 0) words.push(`${shortNumber(stream.lag!)} waiting`);
  if (stream.gaps > 0) {
    const count = exactNumber(stream.lost);
    words.push(`${stream.lostExact ? count : `at least ${count}`} lost in ${stream.gaps} ${stream.gaps === 1 ? "gap" : "gaps"}`);
  }
  const level = behindMs >= FAR_BEHIND_MS ? "critical" : behindMs >= LATE_MS || stream.gaps > 0 ? "warning" : "ok";
  return { name, level, words: words.join(", ") };
}
