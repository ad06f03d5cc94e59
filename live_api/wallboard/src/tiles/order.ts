/** Who is shown (the furthest from zero) and in which order (largest first), changing places only now and then: what shuffles cannot be read. */

export const REORDER_EVERY_MS = 3_000;

export interface Sized {
  id: string;
  /** null: unknown, and after all that are known. */
  size: number | null;
}

export class Order {
  #ids: string[] = [];
  #orderedAt = -Infinity;
  #limit = 0;

  /** At most `limit` of them. One that has gone makes room at once. */
  of<T extends Sized>(all: readonly T[], limit: number, now: number): T[] {
    const byId = new Map(all.map((one) => [one.id, one]));
    const wanted = Math.min(limit, all.length);
    const complete = limit === this.#limit && this.#ids.length === wanted && this.#ids.every((id) => byId.has(id));
    // A clock that was set back is no reason to stand still.
    if (!complete || Math.abs(now - this.#orderedAt) >= REORDER_EVERY_MS) {
      this.#ids = [...all].sort(byFurthest).slice(0, limit).sort(byLargest).map(({ id }) => id);
      this.#orderedAt = now;
      this.#limit = limit;
    }
    return this.#ids.map((id) => byId.get(id)!);
  }
}

/** What is far below zero matters as much as what is far above. */
function byFurthest(one: Sized, other: Sized): number {
  const size = (sized: Sized): number | null => sized.size && Math.abs(sized.size);
  return byLargest({ ...one, size: size(one) }, { ...other, size: size(other) });
}

/** Equals stand in the order of their names, so that they do not change places either. */
function byLargest(one: Sized, other: Sized): number {
  if (one.size === null || other.size === null) return Number(one.size === null) - Number(other.size === null) || byId(one, other);
  return other.size - one.size || byId(one, other);
}

function byId(one: Sized, other: Sized): number {
  return one.id < other.id ? -1 : one.id > other.id ? 1 : 0;
}
