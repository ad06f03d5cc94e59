/** The last result, for as long as what it was made of is the same: a frame costs only what has changed. */
export class Kept<T> {
  #from: readonly unknown[] | null = null;
  #result!: T;

  of(from: readonly unknown[], make: () => T): T {
    if (this.#from === null || from.length !== this.#from.length || from.some((one, index) => one !== this.#from![index])) {
      this.#result = make();
      this.#from = from;
    }
    return this.#result;
  }
}
