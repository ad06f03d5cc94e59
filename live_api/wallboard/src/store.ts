/** The latest points of every series, in bounded memory: what the panels are drawn from. */

import { windowMs } from "./durations";
import type { History, Point, SentPoint, SentSeries } from "./protocol";

/** Points of a series that nothing says otherwise about. */
export const DEFAULT_CAPACITY = 360;
/** Series of one metric and window; past it, the one not heard of for longest goes. */
export const MAX_SERIES = 300;
/** A series that nothing was heard of for this long is dropped. */
export const FORGET_MS = 6 * 3_600_000;

interface Held extends Point {
  /** Which snapshot's era this point was confirmed in; see `SeriesStore.era`. */
  era: number;
}

/** One series of one window. Its points are ordered by start, each start once, and never more than the capacity. */
export class Series {
  readonly points: Held[] = [];
  /** Server time of the last change that was seen to happen. */
  changedAt = -Infinity;
  /** For what was already there when it was first seen: it may have changed until then, but not after its window ended. */
  vouchedAt = -Infinity;
  /** Server time at which the server last spoke of this series. */
  heardAt = -Infinity;

  constructor(
    /** The same for the same dimensions, whatever the metric and the window. */
    readonly id: string,
    readonly dimensions: Readonly<Record<string, string>>,
    readonly widthMs: number | null,
  ) {}

  get latest(): Point | undefined {
    return this.points.at(-1);
  }

  at(start: number): Point | undefined {
    const index = this.#indexOf(start);
    const found = this.points[index];
    return found?.start === start ? found : undefined;
  }

  put(point: Point, era: number, capacity: number): void {
    const index = this.#indexOf(point.start);
    const found = this.points[index];
    if (found?.start === point.start) {
      Object.assign(found, point, { era });
      return;
    }
    if (this.points.length >= capacity) {
      if (index === 0) return; // older than all that are kept
      this.points.shift();
      this.points.splice(index - 1, 0, { ...point, era });
    } else {
      this.points.splice(index, 0, { ...point, era });
    }
  }

  remove(start: number): void {
    const index = this.#indexOf(start);
    if (this.points[index]?.start === start) this.points.splice(index, 1);
  }

  /** Takes out the points of [from, to) that were not confirmed since `era` began. */
  removeUnconfirmed(from: number, to: number, era: number): void {
    const kept = this.points.filter((point) => point.start < from || point.start >= to || point.era >= era);
    if (kept.length < this.points.length) this.points.splice(0, this.points.length, ...kept);
  }

  trim(capacity: number): void {
    if (this.points.length > capacity) this.points.splice(0, this.points.length - capacity);
  }

  /** Index of the first point that does not start before `start`; nearly always at the end. */
  #indexOf(start: number): number {
    let index = this.points.length;
    while (index > 0 && this.points[index - 1]!.start >= start) index -= 1;
    return index;
  }
}

/** All series of one metric and window. */
export class Group {
  readonly series = new Map<string, Series>();
  /** Changes whenever a point does, so that a panel knows when to draw again. */
  version = 0;
}

export class SeriesStore {
  readonly #groups = new Map<string, Group>();
  /** Where each of the server's keys leads, so that identities are worked out once. */
  readonly #byKey = new Map<string, { group: Group; series: Series }>();
  /** How many points the board shows of a metric's window; 0 keeps none. */
  #capacityOf: (metric: string, window: string) => number = () => DEFAULT_CAPACITY;
  #era = 0;

  /**
   * Counts snapshots. A point from an earlier one still stands until history confirms or removes it, so that the wall
   * does not blink when the line comes back.
   */
  get era(): number {
    return this.#era;
  }

  group(metric: string, window: string): Group | undefined {
    return this.#groups.get(groupKey(metric, window));
  }

  /** Start of the latest window with a number that has begun by then, of whatever metric. */
  latestStart(now: number): number | null {
    let latest = -Infinity;
    for (const group of this.#groups.values()) {
      for (const { points } of group.series.values()) {
        latest = Math.max(latest, points.findLast(({ start }) => start <= now)?.start ?? -Infinity);
      }
    }
    return latest === -Infinity ? null : latest;
  }

  /** Start of the latest window of one metric that has a point. */
  latestOf(metric: string, window: string): number | null {
    let latest = -Infinity;
    for (const series of this.group(metric, window)?.series.values() ?? []) {
      latest = Math.max(latest, series.latest?.start ?? -Infinity);
    }
    return latest === -Infinity ? null : latest;
  }

  setCapacities(capacityOf: (metric: string, window: string) => number): void {
    this.#capacityOf = capacityOf;
    for (const [key, group] of this.#groups) {
      const [metric, window] = JSON.parse(key) as [string, string];
      const capacity = capacityOf(metric, window);
      for (const series of group.series.values()) {
        if (capacity === 0) this.#drop(group, series);
        else series.trim(capacity);
      }
      if (group.series.size === 0) this.#groups.delete(key);
    }
  }

  /**
   * The server's state: the latest windows of each series. What it does not reach back to stays until history answers;
   * nothing stays that is later than its latest, or a number of a server that began anew would be the old one's.
   */
  snapshot(sent: ReadonlyMap<string, SentSeries>, t: number): void {
    this.#era += 1;
    this.#byKey.clear();
    for (const [key, one] of sent) this.#take(key, one, t, true);
  }

  update(sent: ReadonlyMap<string, SentSeries>, t: number): void {
    for (const [key, one] of sent) this.#take(key, one, t, false);
  }

  /**
   * Merge points of the past. What arrived live is newer than the same window read from the history, unless the
   * history's revision is higher. Where the history is whole, what it does not have in [from, to) is not so any more.
   */
  history(metric: string, window: string, history: History, from: number, to: number, t: number): void {
    const capacity = this.#capacityOf(metric, window);
    if (capacity === 0) return;
    const group = this.#groupOf(metric, window);
    for (const { dimensions, point } of history.points) {
      const series = this.#seriesOf(group, window, dimensions);
      const held = series.at(point.start) as Held | undefined;
      if (held === undefined || held.era < this.#era || point.revision > held.revision) {
        series.put(point, this.#era, capacity);
      }
      series.vouchedAt = vouchedAt(series, t);
      series.heardAt = Math.max(series.heardAt, t);
    }
    if (!history.truncated && history.points.length > 0) {
      for (const series of group.series.values()) series.removeUnconfirmed(from, to, this.#era);
    }
    this.#limit(group);
    group.version += 1;
  }

  /** Drop what only an earlier snapshot vouched for: the server started anew and its history does not answer. */
  forgetUnconfirmed(): void {
    for (const group of this.#groups.values()) {
      for (const series of group.series.values()) {
        series.removeUnconfirmed(-Infinity, Infinity, this.#era);
        if (series.points.length === 0) this.#drop(group, series);
      }
      group.version += 1;
    }
  }

  /** Drop series that nothing was heard of for long. Call it now and then. */
  forgetOld(now: number): void {
    for (const [key, group] of this.#groups) {
      for (const series of group.series.values()) {
        if (now - series.heardAt > FORGET_MS + 2 * (series.widthMs ?? 0)) {
          this.#drop(group, series);
          group.version += 1;
        }
      }
      if (group.series.size === 0) this.#groups.delete(key);
    }
  }

  #take(key: string, sent: SentSeries, t: number, whole: boolean): void {
    const capacity = this.#capacityOf(sent.metric, sent.window);
    if (capacity === 0) return;
    let place = this.#byKey.get(key);
    if (place === undefined) {
      const group = this.#groupOf(sent.metric, sent.window);
      place = { group, series: this.#seriesOf(group, sent.window, sent.dimensions) };
      this.#byKey.set(key, place);
    }
    const { group, series } = place;
    let isNews = sent.points.length === 0;
    for (const point of sent.points) {
      isNews ||= !onlyCloses(series.at(point.start), point);
      if (point.value === null) series.remove(point.start);
      else series.put({ ...point, value: point.value }, this.#era, capacity);
    }
    if (whole && sent.points.length > 0) {
      const last = Math.max(...sent.points.map((point) => point.start));
      series.removeUnconfirmed(last, Infinity, this.#era);
    }
    if (whole) series.vouchedAt = vouchedAt(series, t);
    else if (isNews) series.changedAt = Math.max(series.changedAt, t);
    series.heardAt = Math.max(series.heardAt, t);
    group.version += 1;
    this.#limit(group);
  }

  #groupOf(metric: string, window: string): Group {
    const key = groupKey(metric, window);
    let group = this.#groups.get(key);
    if (group === undefined) this.#groups.set(key, (group = new Group()));
    return group;
  }

  #seriesOf(group: Group, window: string, dimensions: Record<string, string>): Series {
    const id = JSON.stringify(Object.entries(dimensions).sort(byName));
    let series = group.series.get(id);
    if (series === undefined) group.series.set(id, (series = new Series(id, dimensions, windowMs(window))));
    return series;
  }

  #limit(group: Group): void {
    while (group.series.size > MAX_SERIES) {
      let oldest: Series | undefined;
      for (const series of group.series.values()) {
        if (oldest === undefined || series.heardAt < oldest.heardAt) oldest = series;
      }
      this.#drop(group, oldest!);
    }
  }

  #drop(group: Group, series: Series): void {
    group.series.delete(series.id);
    for (const [key, place] of this.#byKey) if (place.series === series) this.#byKey.delete(key);
  }
}

/** That a window is over, with what was known of it, makes nothing younger. */
function onlyCloses(held: Point | undefined, sent: SentPoint): boolean {
  return held?.state === "open" && sent.state !== "open" && sent.value !== null && held.count === sent.count;
}

function vouchedAt(series: Series, t: number): number {
  const latest = series.latest;
  if (latest === undefined) return -Infinity;
  return series.widthMs === null ? t : Math.min(t, latest.start + series.widthMs);
}

function groupKey(metric: string, window: string): string {
  return JSON.stringify([metric, window]);
}

function byName(one: [string, string], other: [string, string]): number {
  return one[0] < other[0] ? -1 : one[0] > other[0] ? 1 : 0;
}
