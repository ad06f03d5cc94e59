/** Names cut to the room they have, in such a way that two different ones never look alike. */

const CUT = "…";

/** At most `most` characters each, cut in the middle; longer only where the difference would be lost otherwise. */
export function shortLabels(labels: readonly string[], most: number): string[] {
  let short = labels.map((label) => cutMiddle([...label], most));
  for (const cut of [cutBeforeDifference, (group: string[][]) => group.map((label) => label.join(""))]) {
    short = apart(labels, short, (group) => cut(group, most));
  }
  return short;
}

/** Cuts those again that are different and look alike. */
function apart(labels: readonly string[], short: string[], cut: (group: string[][]) => string[]): string[] {
  const result = [...short];
  for (const text of new Set(short)) {
    const alike = labels.flatMap((_, index) => (short[index] === text ? [index] : []));
    if (new Set(alike.map((index) => labels[index])).size < 2) continue;
    const again = cut(alike.map((index) => [...labels[index]!]));
    alike.forEach((index, place) => (result[index] = again[place]!));
  }
  return result;
}

function cutMiddle(label: readonly string[], most: number): string {
  if (label.length <= most) return label.join("");
  const head = Math.ceil((most - 1) / 2);
  const tail = Math.max(0, most - 1 - head);
  return joined(label.slice(0, head), label.slice(label.length - tail));
}

/** Leaves out what comes before the first difference, short of a third that says what it is about. */
function cutBeforeDifference(group: string[][], most: number): string[] {
  const first = group[0]!;
  const shared = first.findIndex((character, index) => group.some((label) => label[index] !== character));
  const same = shared < 0 ? first.length : shared;
  const head = Math.min(same, Math.floor(most / 3));
  const room = Math.max(1, most - 1 - head);
  return group.map((label) => {
    const rest = label.slice(same);
    return joined(label.slice(0, head), rest.length <= room ? label.slice(-room) : rest.slice(0, room - 1)) + (rest.length > room ? CUT : "");
  });
}

function joined(head: readonly string[], tail: readonly string[]): string {
  return head.join("").trimEnd() + CUT + tail.join("").trimStart();
}
