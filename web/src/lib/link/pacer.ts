// Output on its way to a screen: small pieces, few at a time, each acknowledged, so that keys and drawing are never behind megabytes.

/** What shows bytes, and calls `done` when it has. */
export type Show = (bytes: Uint8Array<ArrayBuffer>, stream: number, done: () => void) => void;

const PIECE_LEN_MAX = 32 << 10;
const UNDERWAY_MAX = 2;

export class Pacer {
  #queue: { bytes: Uint8Array<ArrayBuffer>; stream: number; counts: boolean }[] = [];
  #underway = 0;
  readonly #show: Show;
  readonly #handleShown: (stream: number, bytes: number) => void;

  /** `handleShown` is told of every byte that counts against a credit. */
  constructor(show: Show, handleShown: (stream: number, bytes: number) => void) {
    this.#show = show;
    this.#handleShown = handleShown;
  }

  /** Queues bytes; those of a drawing do not count. */
  push(bytes: Uint8Array<ArrayBuffer>, stream: number, counts = true): void {
    for (let at = 0; at < bytes.length; at += PIECE_LEN_MAX) this.#queue.push({ bytes: bytes.subarray(at, at + PIECE_LEN_MAX), stream, counts });
    this.#pump();
  }

  /** Forgets what is queued: something newer replaces it. */
  drop(): void {
    const dropped = this.#queue;
    this.#queue = [];
    for (const { bytes, stream, counts } of dropped) if (counts) this.#handleShown(stream, bytes.length);
  }

  #pump(): void {
    while (this.#underway < UNDERWAY_MAX) {
      const piece = this.#queue.shift();
      if (!piece) return;
      this.#underway += 1;
      this.#show(piece.bytes, piece.stream, () => {
        this.#underway -= 1;
        if (piece.counts) this.#handleShown(piece.stream, piece.bytes.length);
        this.#pump();
      });
    }
  }
}
