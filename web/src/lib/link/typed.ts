// What was typed, numbered (PROTOCOL 7.5): it is kept until the session surely has it, and goes on where the session stands after a link was lost.

import { BrokenLink } from './frame';

/** Input that is kept for a session at most, in bytes. */
export const TYPED_LEN_MAX = 16 << 20;
const PIECE_LEN_MAX = 64 << 10;

export class Typed {
  #kept: Uint8Array[] = [];
  /** Offset of the first byte that is kept, and behind the last. */
  #oldest = 0;
  #total = 0;
  /** What this link has been given, and may be given. */
  #sent = 0;
  #to = 0;
  #window = 0;
  #closed = false;

  /** The program reads no more. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Bytes that wait. */
  get waiting(): number {
    return this.#total - this.#oldest;
  }

  /** Takes input; false where it would be too much. */
  write(bytes: Uint8Array): boolean {
    if (this.#closed) return true;
    if (this.waiting + bytes.length > TYPED_LEN_MAX) return false;
    for (let at = 0; at < bytes.length; at += PIECE_LEN_MAX) this.#kept.push(bytes.slice(at, at + PIECE_LEN_MAX));
    this.#total += bytes.length;
    return true;
  }

  /** A link is there, and the session has everything before `from`. */
  resume(from: number, to: number, window: number): void {
    if (window === 0) return this.close();
    const passedOn = Math.max(0, to - window);
    if (from < this.#oldest || from > this.#total || passedOn > from || to < from) {
      throw new BrokenLink('a place in the input from which nobody can go on');
    }
    this.#sent = from;
    this.#to = to;
    this.#window = window;
    this.#forget(passedOn);
  }

  handleCredit(to: number): void {
    if (to <= this.#to || this.#window === 0) return;
    if (to - this.#window > this.#sent) throw new BrokenLink('a credit for what was not sent');
    this.#to = to;
    this.#forget(to - this.#window);
  }

  close(): void {
    this.#closed = true;
    this.#kept = [];
    this.#oldest = this.#sent = this.#to = this.#total;
  }

  /** The next piece for this link; null where there is none or no room. */
  next(): Uint8Array | null {
    if (this.#closed) return null;
    const len = Math.min(this.#to, this.#total) - this.#sent;
    if (len <= 0) return null;
    let start = this.#oldest;
    for (const part of this.#kept) {
      if (this.#sent < start + part.length) {
        const from = this.#sent - start;
        const piece = part.subarray(from, Math.min(part.length, from + len));
        this.#sent += piece.length;
        return piece;
      }
      start += part.length;
    }
    return null;
  }

  #forget(passedOn: number): void {
    for (let first = this.#kept[0]; first && this.#oldest + first.length <= passedOn; first = this.#kept[0]) {
      this.#oldest += first.length;
      this.#kept.shift();
    }
    const first = this.#kept[0];
    if (first && this.#oldest < passedOn) {
      this.#kept[0] = first.subarray(passedOn - this.#oldest);
      this.#oldest = passedOn;
    }
  }
}
