// One output stream as it arrives, over however many links (PROTOCOL 3.4, 7.5): where it stands, what may still come, what came twice.

import { BrokenLink } from './frame';

/** What is to be shown, in this order. */
export type Output =
  | { is: 'bytes'; bytes: Uint8Array<ArrayBuffer> }
  | { is: 'gap'; from: number; to: number }
  | { is: 'screen'; rows: number; cols: number; bytes: Uint8Array<ArrayBuffer> };

const DRAWING_LEN_MAX = 16 << 20;

export class Received {
  /** Offset of the first byte that is not here yet; null before the stream has begun anywhere. */
  #have: number | null;
  /** Bytes of it that are not shown yet. */
  #waiting = 0;
  /** Offset that this link stands at, and up to which it may send. */
  #at = 0;
  #to = 0;
  #ended = false;
  #drawing: { at: number; rows: number; cols: number; left: number; parts: Uint8Array<ArrayBuffer>[] } | null = null;
  readonly #window: number;

  constructor(window: number, from: number | null) {
    this.#window = window;
    this.#have = from;
  }

  /** Where the next link is to go on; null: wherever the stream can be joined. */
  ask(): number | null {
    const isBehind = this.#waiting > this.#window / 2 && !this.#ended;
    return isBehind ? this.#consumed() : this.#have;
  }

  /** A link is there, and the stream goes on in it at `from`. */
  resume(from: number, isTerminal: boolean): void {
    this.#drawing = null;
    this.#at = from;
    this.#to = from + this.#window;
    if (!isTerminal && this.#have === null) this.#have = from;
  }

  take(bytes: Uint8Array<ArrayBuffer>): Output | null {
    if (this.#drawing) return this.#draw(bytes);
    if (bytes.length > this.#to - this.#at) throw new BrokenLink('more output than was granted');
    this.#have ??= this.#at;
    const repeated = this.#have - this.#at;
    if (repeated < 0) throw new BrokenLink('output with a hole in it');
    this.#at += bytes.length;
    if (this.#at <= this.#have) return null;
    this.#have = this.#at;
    const fresh = bytes.subarray(repeated);
    this.#waiting += fresh.length;
    return { is: 'bytes', bytes: fresh };
  }

  handleGap(from: number, to: number): Output | null {
    if (from !== this.#at || to <= from || this.#drawing) throw new BrokenLink('a gap that has no place here');
    const have = (this.#have ??= from);
    if (have < from) throw new BrokenLink('output with a hole in it');
    this.#skip(to);
    if (to <= have) return null;
    this.#have = to;
    return { is: 'gap', from: have, to };
  }

  handleScreen(at: number, rows: number, cols: number, len: number): Output | null {
    if (at < this.#at || this.#drawing) throw new BrokenLink('a screen that has no place here');
    if (len > DRAWING_LEN_MAX) throw new BrokenLink('a screen that is too long');
    this.#drawing = { at, rows, cols, left: len, parts: [] };
    return len === 0 ? this.#draw(new Uint8Array()) : null;
  }

  handleEnd(total: number): void {
    if (this.#drawing || this.#at !== total || (this.#have !== null && this.#have !== total)) {
      throw new BrokenLink('output that is not what the program wrote');
    }
    this.#ended = true;
  }

  /** So many bytes were shown, or will never be: the credit that is to be sent now, if any. */
  handleConsumed(bytes: number): number | null {
    this.#waiting = Math.max(0, this.#waiting - bytes);
    const to = this.#consumed() + this.#window;
    if (this.#ended || to - this.#to < this.#window / 2) return null;
    this.#to = to;
    return to;
  }

  /** The credit as it stands: what was sent before a jump was too small to count. */
  get credit(): number {
    return this.#to;
  }

  #draw(bytes: Uint8Array<ArrayBuffer>): Output | null {
    const drawing = this.#drawing;
    if (!drawing || bytes.length > drawing.left) throw new BrokenLink('a screen that is longer than was said');
    drawing.parts.push(bytes);
    drawing.left -= bytes.length;
    if (drawing.left > 0) return null;
    this.#drawing = null;
    this.#skip(drawing.at);
    this.#have = drawing.at;
    return { is: 'screen', rows: drawing.rows, cols: drawing.cols, bytes: concat(drawing.parts) };
  }

  #skip(to: number): void {
    this.#to += to - this.#at;
    this.#at = to;
  }

  #consumed(): number {
    return Math.max(0, (this.#have ?? 0) - this.#waiting);
  }
}

function concat(parts: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
