// The directory that is open: its entries in the order they are seen, what is chosen, and the way back. The path is in the address, so
// that a reload, a bookmark and the browser's buttons do what one expects.

import { tick } from 'svelte';
import { ApiError } from '../lib/api';
import { baseName, join, type Name, parent, pathToUrl, urlToPath } from '../lib/bytes';
import { list } from './client';
import { emptyTable, type Kind, KINDS, type Sort, type Table, visible } from './listing';
import type { FromWorker, ToWorker } from './listing.worker';
import { isWithin, tidy } from './names';
import { Selection } from './selection.svelte';
import { keep, kept } from './settings';

/** An entry, made when it is asked for. */
export interface Entry {
  row: number;
  name: Name;
  /** The name as it may be shown. */
  text: string;
  kind: Kind;
  size: number;
  /** Milliseconds since 1970. */
  time: number;
  mode: number;
  uid: number;
  gid: number;
  target: string | undefined;
}

const HASH = '#/files';

export class Browser {
  path: Name = $state('/');
  /** In the order of `sort`, after `filter`: row ids of the table. */
  rows: Uint32Array<ArrayBuffer> = $state.raw(new Uint32Array());
  /** How many entries the directory has, hidden ones too. */
  total = $state(0);
  loading = $state(false);
  /** What stopped the last reading. */
  error: unknown = $state(null);
  sort: Sort = $state(kept('sort', { key: 'name', descending: false }));
  hidden: boolean = $state(kept('hidden', false));
  filter = $state('');
  readonly selection = new Selection();

  #table: Table = emptyTable();
  #order: Uint32Array<ArrayBuffer> = new Uint32Array();
  #worker: Worker | null = null;
  #asked = 0;
  #waiting = new Map<number, (message: FromWorker) => void>();
  #abort: AbortController | null = null;
  #scroll = new Map<Name, number>();
  #start: Name;

  constructor(start: Name) {
    this.#start = tidy(start);
  }

  /** Opens what the address says, and follows it. Returns how to stop. */
  follow(): () => void {
    const handle = (): void => {
      const next = this.#inAddress();
      if (next !== null && next !== this.path) void this.#open(next);
    };
    addEventListener('popstate', handle);
    addEventListener('hashchange', handle);
    void this.#open(this.#inAddress() ?? this.#start);
    return () => {
      removeEventListener('popstate', handle);
      removeEventListener('hashchange', handle);
      this.#abort?.abort();
      this.#worker?.terminate();
      this.#worker = null;
    };
  }

  #inAddress(): Name | null {
    return location.hash.startsWith(`${HASH}/`) ? tidy(urlToPath(location.hash.slice(HASH.length))) : null;
  }

  /** The address of a directory in this page. */
  address(path: Name): string {
    return `${HASH}${pathToUrl(path)}`;
  }

  /** Goes to a directory; the browser's Back leads here again. */
  async go(path: Name, choose?: Name): Promise<void> {
    const next = tidy(path);
    if (next !== this.path || this.#inAddress() === null) history.pushState(null, '', this.address(next));
    await this.#open(next, choose);
  }

  /** Goes to the directory above, and stands on the one that was left. */
  async up(): Promise<void> {
    if (this.path !== '/') await this.go(parent(this.path), baseName(this.path));
  }

  async #open(path: Name, choose?: Name): Promise<void> {
    if (path !== this.path) {
      this.filter = '';
      this.#take(emptyTable(), new Uint32Array());
    }
    this.path = path;
    await this.reload(choose === undefined ? [] : [choose]);
  }

  /** Reads the directory again. What was chosen stays so, unless `choose` says what is to be. */
  async reload(choose?: Name[]): Promise<void> {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    const wanted = new Set(choose ?? this.selection.chosen().map((row) => this.#table.names[row] ?? ''));
    this.loading = true;
    try {
      const body = await list(this.path, abort.signal);
      const [table, order] = await this.#parse(body);
      if (abort.signal.aborted) return;
      this.error = null;
      this.#take(table, order);
      if (wanted.size > 0) this.selection.choose(this.#order.filter((row) => wanted.has(table.names[row] ?? '')));
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error;
      // While the machine can't be reached, what was seen last is better than nothing.
      if (!(error instanceof ApiError && error.status === 0)) this.#take(emptyTable(), new Uint32Array());
    } finally {
      if (this.#abort === abort) this.loading = false;
    }
    await tick();
  }

  #take(table: Table, order: Uint32Array<ArrayBuffer>): void {
    this.#table = table;
    this.#order = order;
    this.total = table.names.length;
    this.selection.reset(this.total);
    this.#arrange();
  }

  #arrange(): void {
    this.rows = visible(this.#table, this.#order, this.hidden, this.filter);
    this.selection.arrange(this.rows);
  }

  setFilter(filter: string): void {
    this.filter = filter;
    this.#arrange();
  }

  setHidden(hidden: boolean): void {
    this.hidden = hidden;
    keep('hidden', hidden);
    this.#arrange();
  }

  /** Sorts; by the same key again, the other way round. */
  async sortBy(key: Sort['key']): Promise<void> {
    const descending = this.sort.key === key ? !this.sort.descending : key === 'size' || key === 'time';
    this.sort = { key, descending };
    keep('sort', this.sort);
    if (this.total === 0) return;
    const table = this.#table;
    const message = await this.#ask({ sort: { key, descending }, id: 0 });
    if (!('rows' in message) || this.#table !== table) return;
    this.#order = message.rows;
    this.#arrange();
  }

  entry(row: number): Entry {
    const table = this.#table;
    return {
      row,
      name: table.names[row] ?? '',
      text: table.texts[row] ?? '',
      kind: KINDS[table.kinds[row] ?? 3] ?? 'special',
      size: table.sizes[row] ?? 0,
      time: table.times[row] ?? 0,
      mode: table.modes[row] ?? 0,
      uid: table.uids[row] ?? 0,
      gid: table.gids[row] ?? 0,
      target: table.targets.get(row),
    };
  }

  /** The entry at a position of what is seen. */
  at(position: number): Entry | null {
    const row = this.rows[position];
    return row === undefined ? null : this.entry(row);
  }

  chosen(): Entry[] {
    return this.selection.chosen().map((row) => this.entry(row));
  }

  pathOf(entry: Entry): Name {
    return join(this.path, entry.name);
  }

  /** Whether the directory that is open has this name. */
  hasName(name: Name): boolean {
    return this.#table.names.includes(name);
  }

  /** Whether something that is new at a path is seen here: as a name, or as the directory it is in. */
  shows(path: Name): boolean {
    if (parent(path) === this.path) return true;
    const below = isWithin(path, this.path) ? path.slice(this.path === '/' ? 1 : this.path.length + 1).split('/')[0] : undefined;
    return below !== undefined && !this.hasName(below);
  }

  /** The first position from `from` on, all around, whose name starts with a text; -1 for none. */
  find(text: string, from: number): number {
    const wanted = text.toLowerCase();
    const { length } = this.rows;
    for (let step = 0; step < length; step++) {
      const position = (from + step) % length;
      if (this.#table.texts[this.rows[position] ?? 0]?.toLowerCase().startsWith(wanted)) return position;
    }
    return -1;
  }

  /** Where a directory was scrolled to, and remembering it. */
  scrollOf(path: Name): number {
    return this.#scroll.get(path) ?? 0;
  }

  keepScroll(path: Name, top: number): void {
    this.#scroll.set(path, top);
  }

  #parse(body: ArrayBuffer): Promise<[Table, Uint32Array<ArrayBuffer>]> {
    const names: Name[] = [];
    const texts: string[] = [];
    const sort = { ...this.sort };
    return new Promise((resolve, reject) => {
      void this.#ask({ body, sort, id: 0 }, (message) => {
        if ('names' in message) {
          names.push(...message.names);
          texts.push(...message.texts);
        } else if ('error' in message) reject(new Error(message.error));
        else resolve([{ ...emptyTable(), ...message.columns, names, texts }, message.rows]);
      });
    });
  }

  /** Asks the worker; resolves with its last message, and hands every message to `each`. */
  #ask(question: ToWorker, each?: (message: FromWorker) => void): Promise<FromWorker> {
    this.#worker ??= this.#startWorker();
    const id = ++this.#asked;
    const worker = this.#worker;
    return new Promise((resolve) => {
      this.#waiting.set(id, (message) => {
        each?.(message);
        if ('names' in message) return;
        this.#waiting.delete(id);
        resolve(message);
      });
      worker.postMessage({ ...question, id }, 'body' in question ? [question.body] : []);
    });
  }

  #startWorker(): Worker {
    const worker = new Worker(new URL('./listing.worker.ts', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#waiting.get(data.id)?.(data);
    return worker;
  }
}
