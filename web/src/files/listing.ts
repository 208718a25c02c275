// A directory as columns, and the orders it can be shown in. Pure; runs in a worker, because reading and sorting
// 100,000 entries takes longer than a frame.

import { type ByteString, display, type Name, nameOf } from '../lib/bytes';
import { extension } from './names';

export const KINDS = ['dir', 'file', 'link', 'special'] as const;
export type Kind = (typeof KINDS)[number];

export type SortKey = 'name' | 'size' | 'time' | 'kind';
export interface Sort {
  key: SortKey;
  descending: boolean;
}

/** An entry as PROTOCOL 7.2 has it. */
export interface WireEntry {
  name: ByteString;
  kind: string;
  size?: number;
  mode?: number;
  mtime?: [number, number];
  uid?: number;
  gid?: number;
  target?: ByteString;
}

/** The entries of a directory, a column for each property; the row number is their id. */
export interface Table {
  names: Name[];
  /** Names as a person sees them. */
  texts: string[];
  /** Indices into `KINDS`. */
  kinds: Uint8Array<ArrayBuffer>;
  sizes: Float64Array<ArrayBuffer>;
  /** Milliseconds since 1970. */
  times: Float64Array<ArrayBuffer>;
  modes: Uint16Array<ArrayBuffer>;
  uids: Uint32Array<ArrayBuffer>;
  gids: Uint32Array<ArrayBuffer>;
  /** Where links lead, as text for a person, by row. */
  targets: Map<number, string>;
}

/** A table of nothing, or of `length` rows that are to be filled. */
export function emptyTable(length = 0): Table {
  return {
    names: new Array<Name>(length),
    texts: new Array<string>(length),
    kinds: new Uint8Array(length),
    sizes: new Float64Array(length),
    times: new Float64Array(length),
    modes: new Uint16Array(length),
    uids: new Uint32Array(length),
    gids: new Uint32Array(length),
    targets: new Map(),
  };
}

/** Reads the body of a listing. Throws where it is none. */
export function parseListing(body: Uint8Array): Table {
  const value = JSON.parse(new TextDecoder().decode(body)) as { entries?: unknown };
  if (!Array.isArray(value.entries)) throw new Error('no listing');
  const entries = value.entries as WireEntry[];
  const table = emptyTable(entries.length);
  entries.forEach((entry, row) => {
    const name = nameOf(entry.name);
    const kind = KINDS.indexOf(entry.kind as Kind);
    table.names[row] = name;
    table.texts[row] = shown(name);
    table.kinds[row] = kind < 0 ? KINDS.length - 1 : kind;
    table.sizes[row] = entry.size ?? 0;
    table.times[row] = (entry.mtime?.[0] ?? 0) * 1000 + Math.floor((entry.mtime?.[1] ?? 0) / 1e6);
    table.modes[row] = (entry.mode ?? 0) & 0o7777;
    table.uids[row] = entry.uid ?? 0;
    table.gids[row] = entry.gid ?? 0;
    if (entry.target !== undefined) table.targets.set(row, display(nameOf(entry.target)));
  });
  return table;
}

const shown = (name: Name): string => (/^[ -~]*$/.test(name) ? name : display(name));

/**
 * Ranks of the rows by name, digits by their value: sorting by anything else needs no comparison of names any more. Names of ASCII are compared
 * by a key, which takes a tenth of the time of a collator.
 */
export function rankByName(texts: string[]): Uint32Array<ArrayBuffer> {
  const rows = Uint32Array.from(texts, (_, row) => row);
  if (texts.every((text) => /^[ -~]*$/.test(text))) {
    const keys = texts.map(naturalKey);
    rows.sort((a, b) => compare(keys[a] ?? '', keys[b] ?? '') || compare(texts[a] ?? '', texts[b] ?? '') || a - b);
  } else {
    const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'variant' });
    rows.sort((a, b) => collator.compare(texts[a] ?? '', texts[b] ?? '') || a - b);
  }
  const ranks = new Uint32Array(rows.length);
  rows.forEach((row, rank) => (ranks[row] = rank));
  return ranks;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Lower case, punctuation before digits before letters, and numbers as their length and digits. */
function naturalKey(text: string): string {
  const key = text.toLowerCase();
  return /\d/.test(key) ? key.replace(/\d+/g, (digits) => `0${String.fromCharCode(0x100 + digits.replace(/^0+/, '').length)}${digits.replace(/^0+/, '')}`) : key;
}

/** The rows in order, directories first; equal ones by name. */
export function order(table: Table, ranks: Uint32Array, sort: Sort): Uint32Array<ArrayBuffer> {
  const rows = Uint32Array.from(table.names, (_, row) => row);
  const { kinds } = table;
  const column = columnOf(table, sort.key) ?? ranks;
  const sign = sort.descending ? -1 : 1;
  const isFile = (row: number): number => (kinds[row] === 0 ? 0 : 1);
  rows.sort(
    (a, b) =>
      isFile(a) - isFile(b) ||
      sign * ((column[a] ?? 0) - (column[b] ?? 0)) ||
      (ranks[a] ?? 0) - (ranks[b] ?? 0),
  );
  return rows;
}

/** What is sorted by as numbers; null for the name. */
function columnOf(table: Table, key: SortKey): ArrayLike<number> | null {
  if (key === 'size') return table.sizes;
  if (key === 'time') return table.times;
  if (key === 'name') return null;
  const extensions = table.names.map((name, row) => `${table.kinds[row]}.${extension(name)}`);
  const numbers = new Map([...new Set(extensions)].sort().map((text, number) => [text, number]));
  return extensions.map((text) => numbers.get(text) ?? 0);
}

/** Those of the rows that are to be seen: without hidden names, and with the text in them. */
export function visible(table: Table, rows: Uint32Array<ArrayBuffer>, hidden: boolean, filter: string): Uint32Array<ArrayBuffer> {
  const wanted = filter.trim().toLowerCase();
  if (hidden && wanted === '') return rows;
  return rows.filter((row) => {
    if (!hidden && table.names[row]?.startsWith('.')) return false;
    return wanted === '' || (table.texts[row] ?? '').toLowerCase().includes(wanted);
  });
}
