// How fast bytes go, over the last seconds: long enough to be calm, short enough to be true.

const WINDOW_MS = 6000;
const STEP_MS = 250;

/** A rate over a sliding window. Times are milliseconds of any clock that only goes forward. */
export class Rate {
  #samples: { at: number; total: number }[] = [];

  /** Says how many bytes there are in all by now. A total that became smaller starts over. */
  note(total: number, now: number): void {
    const last = this.#samples.at(-1);
    if (last && total < last.total) this.#samples = [];
    if (last && now - last.at < STEP_MS && this.#samples.length > 1) {
      last.total = Math.max(total, last.total);
      return;
    }
    this.#samples.push({ at: now, total });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.at ?? now) > WINDOW_MS) this.#samples.shift();
  }

  /** Bytes per second; 0 where nothing went lately. */
  perSec(now: number): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || now - last.at > WINDOW_MS) return 0;
    const span = Math.max(now - first.at, 1000);
    return ((last.total - first.total) * 1000) / span;
  }

  reset(): void {
    this.#samples = [];
  }
}
