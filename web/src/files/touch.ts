// Fingers and keys: what tells a long press from a tap, and words from single keys.

const PRESS_MS = 450;
const MOVE_PX = 10;
const WORD_MS = 800;

/** A finger that stays on a row. */
export class LongPress {
  /** Whether the last pointer was a finger. */
  isTouch = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #from = { x: 0, y: 0 };
  #pressed = false;
  #act: (position: number) => void;

  constructor(act: (position: number) => void) {
    this.#act = act;
  }

  handleDown(event: PointerEvent, position: number): void {
    this.cancel();
    this.#pressed = false;
    this.isTouch = event.pointerType === 'touch';
    if (!this.isTouch || position < 0) return;
    this.#from = { x: event.clientX, y: event.clientY };
    this.#timer = setTimeout(() => {
      this.#pressed = true;
      this.#timer = null;
      navigator.vibrate?.(10);
      this.#act(position);
    }, PRESS_MS);
  }

  handleMove(event: PointerEvent): void {
    if (this.#timer !== null && Math.hypot(event.clientX - this.#from.x, event.clientY - this.#from.y) > MOVE_PX) this.cancel();
  }

  cancel(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Whether the click that comes now ends a long press, and is none of its own. */
  tookClick(): boolean {
    const took = this.#pressed;
    this.#pressed = false;
    return took;
  }
}

/** Keys that follow each other quickly are the start of a name. */
export class TypeAhead {
  #text = '';
  #last = 0;

  get isGoing(): boolean {
    return this.#text !== '' && performance.now() - this.#last < WORD_MS;
  }

  /** Adds a key. Answers what to look for, and from which position on. The same key again goes to the next name that starts with it. */
  add(key: string, at: number): { text: string; from: number } {
    const isGoing = this.isGoing;
    this.#last = performance.now();
    if (isGoing && this.#text !== key) {
      this.#text += key;
      return { text: this.#text, from: at };
    }
    this.#text = key;
    return { text: key, from: at + 1 };
  }
}
