/** What a paths tile draws: from which pages to which most people went, as bands between two columns. */

import { exactNumber, shortNumber } from "../format";
import { END, START, type Paths, type Transition } from "../people";

export interface FlowNode {
  id: string;
  label: string;
  count: string;
  exact: string;
  /** Middle of its label and ends of its bands, from the top (0) to the bottom (1). */
  middle: number;
  from: number;
  to: number;
  /** Not a page, but where a path begins or ends. */
  isEnd: boolean;
}

export interface FlowBand {
  id: string;
  from: string;
  to: string;
  exact: string;
  share: number;
  /** Its outline in a box of 100 by 100. */
  outline: string;
  isEnd: boolean;
}

export interface Flow {
  left: FlowNode[];
  right: FlowNode[];
  /** The widest first. */
  bands: FlowBand[];
  hidden: number;
}

/** Of the height, what is left free for each label even where its bands are thin. */
const FREE = 0.35;

/** The most frequent transitions: `most` of them, over no more pages a side than `room` has labels for. */
export function flowOf({ transitions }: Paths, most: number, room: number): Flow {
  const sorted = [...transitions].sort((one, other) => other.count - one.count || compare(one.from, other.from) || compare(one.to, other.to));
  const shown: Transition[] = [];
  const from = new Map<string, number>();
  const to = new Map<string, number>();
  for (const one of sorted) {
    if (shown.length >= most) break;
    if ((!from.has(one.from) && from.size >= room) || (!to.has(one.to) && to.size >= room)) continue;
    shown.push(one);
    from.set(one.from, (from.get(one.from) ?? 0) + one.count);
    to.set(one.to, (to.get(one.to) ?? 0) + one.count);
  }
  const total = shown.reduce((sum, { count }) => sum + count, 0);
  const scale = total > 0 ? (1 - FREE) / total : 0;
  const left = nodesOf(from, scale, "(start)");
  const right = nodesOf(to, scale, "(end)");
  // Bands leave a page in the order of where they go, and arrive in that of where they come from: they cross least.
  const rank = (nodes: FlowNode[]): Map<string, number> => new Map(nodes.map(({ id }, index) => [id, index]));
  const [leftRank, rightRank] = [rank(left), rank(right)];
  const startsAt = placed(shown, left, ({ from: page }) => page, ({ to: page }) => rightRank.get(page)!, scale);
  const endsAt = placed(shown, right, ({ to: page }) => page, ({ from: page }) => leftRank.get(page)!, scale);
  return {
    left,
    right,
    bands: shown.map((one) => ({
      id: JSON.stringify([one.from, one.to]),
      from: nameOf(one.from, "(start)"),
      to: nameOf(one.to, "(end)"),
      exact: exactNumber(one.count),
      share: one.count / total,
      outline: outlineOf(startsAt.get(one)!, endsAt.get(one)!, one.count * scale),
      isEnd: one.from === START || one.to === END,
    })),
    hidden: transitions.length - shown.length,
  };
}

function nodesOf(counts: ReadonlyMap<string, number>, scale: number, end: string): FlowNode[] {
  const pages = [...counts].sort(([one, most], [other, more]) => more - most || compare(one, other));
  const spare = (1 - scale * pages.reduce((sum, [, count]) => sum + count, 0)) / Math.max(1, pages.length);
  let at = 0;
  return pages.map(([id, count]) => {
    const height = count * scale;
    const from = at + spare / 2;
    at += height + spare;
    return {
      id,
      label: nameOf(id, end),
      count: shortNumber(count),
      exact: exactNumber(count),
      middle: from + height / 2,
      from,
      to: from + height,
      isEnd: id === START || id === END,
    };
  });
}

/** Where each band begins within its page, from the top. */
function placed(
  shown: readonly Transition[],
  nodes: readonly FlowNode[],
  pageOf: (one: Transition) => string,
  rankOf: (one: Transition) => number,
  scale: number,
): Map<Transition, number> {
  const found = new Map<Transition, number>();
  for (const node of nodes) {
    let at = node.from;
    for (const one of shown.filter((other) => pageOf(other) === node.id).sort((a, b) => rankOf(a) - rankOf(b))) {
      found.set(one, at);
      at += one.count * scale;
    }
  }
  return found;
}

function outlineOf(start: number, end: number, height: number): string {
  const y = (at: number): string => (100 * at).toFixed(2);
  return (
    `M0 ${y(start)}C50 ${y(start)} 50 ${y(end)} 100 ${y(end)}V${y(end + height)}` +
    `C50 ${y(end + height)} 50 ${y(start + height)} 0 ${y(start + height)}Z`
  );
}

function nameOf(page: string, end: string): string {
  if (page === START || page === END) return end;
  return page === "__other__" ? "other" : page === "__none__" ? "(none)" : page;
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
