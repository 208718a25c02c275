// What is chosen in a list, by row id of its table, and where the keyboard stands. Positions are places in the order that is seen.

/** Choosing as file managers do it: click, ctrl, shift, arrows. */
export class Selection {
  /** One byte for each row of the table. */
  #chosen = new Uint8Array();
  #rows: Uint32Array = new Uint32Array();
  #anchor = 0;
  #version = $state(0);
  /** The position that has the focus; -1 in an empty list. */
  focus = $state(-1);
  count = $state(0);

  /** Takes a new table (`size` rows) with nothing chosen. */
  reset(size: number): void {
    this.#chosen = new Uint8Array(size);
    this.count = 0;
    this.#version += 1;
  }

  /** Takes a new order. What is no longer seen is no longer chosen; the focus stays on its row. */
  arrange(rows: Uint32Array): void {
    const focused = this.#rows[this.focus];
    this.#rows = rows;
    const seen = new Uint8Array(this.#chosen.length);
    let count = 0;
    for (const row of rows) {
      if (this.#chosen[row] !== 1) continue;
      seen[row] = 1;
      count += 1;
    }
    this.#chosen = seen;
    this.count = count;
    const place = focused === undefined ? -1 : rows.indexOf(focused);
    this.focus = place >= 0 ? place : rows.length === 0 ? -1 : Math.min(Math.max(this.focus, 0), rows.length - 1);
    this.#anchor = Math.max(this.focus, 0);
    this.#version += 1;
  }

  has(row: number): boolean {
    void this.#version;
    return this.#chosen[row] === 1;
  }

  /** The chosen rows in the order that is seen. */
  chosen(): number[] {
    void this.#version;
    return this.count === 0 ? [] : [...this.#rows].filter((row) => this.#chosen[row] === 1);
  }

  /** Chooses the one at a position, alone. */
  only(position: number): void {
    this.#chosen.fill(0);
    this.count = 0;
    this.#set(position, 1);
    this.#stand(position);
    this.#anchor = position;
  }

  /** Adds or takes away the one at a position. */
  toggle(position: number): void {
    const row = this.#rows[position];
    if (row === undefined) return;
    this.#set(position, this.#chosen[row] === 1 ? 0 : 1);
    this.#stand(position);
    this.#anchor = position;
  }

  /** Chooses everything between where the choice began and a position; with `add` beside what is chosen already. */
  extend(position: number, add = false): void {
    if (!add) {
      this.#chosen.fill(0);
      this.count = 0;
    }
    const [from, to] = [Math.min(this.#anchor, position), Math.max(this.#anchor, position)];
    for (let at = from; at <= to; at++) this.#set(at, 1);
    this.#stand(position);
  }

  all(): void {
    this.#chosen.fill(0);
    for (const row of this.#rows) this.#chosen[row] = 1;
    this.count = this.#rows.length;
    this.#version += 1;
  }

  clear(): void {
    if (this.count === 0) return;
    this.#chosen.fill(0);
    this.count = 0;
    this.#version += 1;
  }

  /** Chooses rows by their id, and stands on the first of them. */
  choose(rows: Iterable<number>): void {
    this.#chosen.fill(0);
    let count = 0;
    let first = -1;
    for (const row of rows) {
      if (first < 0) first = row;
      if (this.#chosen[row] === 0) count += 1;
      this.#chosen[row] = 1;
    }
    this.count = count;
    if (first >= 0) this.#stand(this.#rows.indexOf(first));
    this.#anchor = Math.max(this.focus, 0);
    this.#version += 1;
  }

  /** Moves the keyboard without choosing. */
  #stand(position: number): void {
    this.focus = this.#rows.length === 0 ? -1 : Math.min(Math.max(position, 0), this.#rows.length - 1);
    this.#version += 1;
  }

  moveTo(position: number): void {
    this.#stand(position);
  }

  #set(position: number, value: 0 | 1): void {
    const row = this.#rows[position];
    if (row === undefined || this.#chosen[row] === value) return;
    this.#chosen[row] = value;
    this.count += value === 1 ? 1 : -1;
  }
}
