// What is to be uploaded, kept over a reload of the page: IndexedDB, one record for each file that is not complete. Content is never kept here;
// where the browser gives a handle to the file, the handle is.

import type { Name } from './bytes';

/** A file that is on its way. */
export interface UploadRecord {
  id: string;
  /** The page that sends it; a lock of this name is held as long as that page lives. */
  owner: string;
  path: Name;
  size: number;
  /** `lastModified` of the file, milliseconds. */
  mtime: number;
  /** Where the node keeps what it has, once it was asked to. */
  url: string | null;
  replace: boolean;
  created: number;
  handle: FileSystemFileHandle | null;
}

/** Where records are kept. */
export interface UploadStore {
  put(records: UploadRecord[]): Promise<void>;
  remove(ids: string[]): Promise<void>;
  /** Takes over what no living page sends any more. */
  adopt(): Promise<UploadRecord[]>;
  /** The name of this page, for `UploadRecord.owner`. */
  readonly owner: string;
}

const NAME = 'tow-uploads';
const TABLE = 'files';

/** The store of this browser; one that forgets where there is no IndexedDB. */
export function openStore(): UploadStore {
  const owner = `${NAME}:${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;
  // Held until the page is gone, however it goes.
  void navigator.locks?.request(owner, () => new Promise(() => {}));
  let opened: Promise<IDBDatabase> | null = null;
  const database = (): Promise<IDBDatabase> => (opened ??= open());
  const forget = (): void => {};
  return {
    owner,
    put: (records) => database().then((db) => change(db, (files) => records.forEach((record) => files.put(record)))).catch(forget),
    remove: (ids) => database().then((db) => change(db, (files) => ids.forEach((id) => files.delete(id)))).catch(forget),
    adopt: async () => {
      try {
        return await adopt(await database(), owner);
      } catch {
        return [];
      }
    },
  };
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: 'id' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('no database'));
  });
}

function change(db: IDBDatabase, act: (files: IDBObjectStore) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(TABLE, 'readwrite');
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error('not stored'));
    act(transaction.objectStore(TABLE));
  });
}

/** One transaction, so that two pages that open at once don't both take a record. */
async function adopt(db: IDBDatabase, owner: string): Promise<UploadRecord[]> {
  const held = (await navigator.locks?.query())?.held?.map((lock) => lock.name) ?? [];
  const alive = new Set(held.filter((name) => name !== owner));
  const adopted: UploadRecord[] = [];
  await change(db, (files) => {
    const all = files.getAll();
    all.onsuccess = () => {
      for (const record of all.result as UploadRecord[]) {
        if (alive.has(record.owner)) continue;
        record.owner = owner;
        files.put(record);
        adopted.push(record);
      }
    };
  });
  return adopted.sort((a, b) => a.created - b.created);
}
