// Reads and sorts a listing away from the page's thread. One worker holds one directory.

import { order, parseListing, rankByName, type Sort, type Table } from './listing';

export type ToWorker = { body: ArrayBuffer; sort: Sort; id: number } | { sort: Sort; id: number };
/** Names come in pieces, so that no message holds up the page; the last message of an `id` has the rows. */
export type FromWorker =
  | { id: number; names: string[]; texts: string[] }
  | { id: number; columns?: Omit<Table, 'names' | 'texts'>; rows: Uint32Array<ArrayBuffer> }
  | { id: number; error: string };

const PIECE = 5000;
let table: Table | null = null;
let ranks = new Uint32Array();

const post = (message: FromWorker, transfer: Transferable[] = []): void => self.postMessage(message, { transfer });

self.onmessage = ({ data }: MessageEvent<ToWorker>): void => {
  const { id, sort } = data;
  try {
    if ('body' in data) read(id, data.body);
    if (table === null) throw new Error('no listing');
    const rows = order(table, ranks, sort);
    const { names, texts, ...columns } = table;
    const isFirst = 'body' in data;
    post({ id, rows, ...(isFirst ? { columns } : {}) }, [rows.buffer]);
  } catch (error) {
    post({ id, error: String(error) });
  }
};

function read(id: number, body: ArrayBuffer): void {
  table = parseListing(new Uint8Array(body));
  ranks = rankByName(table.texts);
  for (let at = 0; at < table.names.length; at += PIECE) {
    post({ id, names: table.names.slice(at, at + PIECE), texts: table.texts.slice(at, at + PIECE) });
  }
}
