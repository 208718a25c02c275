// The queue of uploads: what is sent, four at a time, what waits, what went wrong and what is done about it. It knows no protocol (that is
// `upload-tus.ts`) and no component.

import { createSubscriber } from 'svelte/reactivity';
import type { Name } from './bytes';
import { Rate } from './upload-rate';
import type { UploadRecord, UploadStore } from './upload-store';

/**
 * `lost`: the page was loaded anew and has to be given the file again. `conflict`: the name is taken and a person has to say what is to be done.
 * `retrying`: it failed in a way that passes, and will be tried again.
 */
export type UploadState = 'waiting' | 'active' | 'paused' | 'retrying' | 'lost' | 'conflict' | 'failed' | 'done';

/** What to do where a name is taken. */
export type Choice = 'replace' | 'keep' | 'skip';

export interface Upload {
  readonly id: string;
  path: Name;
  size: number;
  mtime: number;
  /** How many bytes went, as far as this end knows. */
  offset: number;
  state: UploadState;
  error: unknown;
  url: string | null;
  replace: boolean;
  file: File | null;
  handle: FileSystemFileHandle | null;
  readonly batch: Batch;
  readonly rate: Rate;
  /** When it is tried again, by the clock of the queue. */
  retryAt: number;
  tries: number;
  created: number;
}

/** What was given at once. */
export interface Batch {
  /** What was answered for all of it. */
  choice: Choice | null;
}

/** How an upload ended that was not stopped. */
export type Ending =
  | { kind: 'done' }
  /** It may be tried again at the offset that the node has. */
  | { kind: 'again'; error: unknown; afterSecs?: number | null }
  | { kind: 'exists' }
  /** Nobody is signed in: nothing can be sent until somebody is. */
  | { kind: 'signedOut' }
  | { kind: 'failed'; error: unknown };

export interface Report {
  progress(offset: number): void;
  located(url: string): void;
  ended(ending: Ending): void;
}

/** Who sends. */
export interface Transport {
  /** Sends from where the node stands. Answers how to stop; nothing is reported after that. */
  send(upload: Upload, file: File, report: Report): () => void;
  /** Lets the node forget what it has. */
  discard(url: string): Promise<void>;
  makeDir(path: Name): Promise<void>;
}

/** A file to be sent. */
export interface Picked {
  path: Name;
  file: File;
  handle: FileSystemFileHandle | null;
}

export interface Totals {
  files: number;
  done: number;
  failed: number;
  lost: number;
  paused: number;
  /** Whether anything goes, waits or will be tried again. */
  busy: boolean;
  bytes: number;
  sent: number;
  perSec: number;
  /** Seconds that remain; infinite where it can't be said. */
  secs: number;
}

export interface QueueOptions {
  transport: Transport;
  store: UploadStore;
  /** Asks what to do where a name is taken. */
  ask(upload: Upload): Promise<{ choice: Choice; all: boolean }>;
  /** The next name to try beside one that is taken. */
  beside(path: Name): Name;
  now?: () => number;
}

export const PARALLEL = 4;
const RETRY_SECS = [1, 2, 4, 8, 15, 30];
const NOTICE_MS = 200;
const RECORDS_AT_ONCE = 500;

export class UploadQueue {
  readonly items: Upload[] = [];
  /** Called with each upload that is complete. */
  ondone: (upload: Upload) => void = () => {};
  #options: QueueOptions;
  #now: () => number;
  #stops = new Map<Upload, () => void>();
  #waiting: Upload[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #wake: ReturnType<typeof setTimeout> | null = null;
  #asking: Promise<void> | null = null;
  #rate = new Rate();
  #moved = 0;
  #changed: () => void = () => {};
  #subscribe = createSubscriber((update) => {
    this.#changed = update;
    return () => (this.#changed = () => {});
  });
  #last = 0;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** What reads the queue in a component is drawn again when it changes, five times a second at most. */
  watch(): void {
    this.#subscribe();
  }

  #notice(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#changed();
    }, NOTICE_MS);
  }

  /** Makes the directories, parents first, then sends the files. Throws where a directory can't be made. */
  async add(dirs: Name[], files: Picked[]): Promise<void> {
    const depth = (path: Name): number => path.split('/').length;
    const sorted = [...new Set(dirs)].sort((a, b) => depth(a) - depth(b));
    for (let at = 0; at < sorted.length; ) {
      const level = sorted.slice(at, at + PARALLEL).filter((path) => depth(path) === depth(sorted[at] ?? ''));
      await Promise.all(level.map((path) => this.#options.transport.makeDir(path)));
      at += level.length;
    }
    const batch: Batch = { choice: null };
    const added = files.map((picked) => this.#make(picked, batch));
    // Before anything is sent: a page that dies now has not forgotten any of it.
    for (let at = 0; at < added.length; at += RECORDS_AT_ONCE) await this.#store(added.slice(at, at + RECORDS_AT_ONCE));
    for (const upload of added) {
      this.items.push(upload);
      this.#waiting.push(upload);
    }
    this.#pump();
  }

  #make({ path, file, handle }: Picked, batch: Batch): Upload {
    this.#last = Math.max(this.#last + 1, Date.now());
    const base = { path, size: file.size, mtime: file.lastModified, url: null, replace: false, file, handle, created: this.#last };
    return { ...base, ...fresh(), id: `${this.#options.store.owner}-${this.#last}`, state: 'waiting', batch };
  }

  /** Takes up what an earlier page began. */
  async restore(): Promise<void> {
    const batch: Batch = { choice: null };
    for (const record of await this.#options.store.adopt()) {
      const { owner: _, ...kept } = record;
      const upload: Upload = { ...kept, ...fresh(), file: null, state: 'lost', batch };
      this.items.push(upload);
      if (upload.handle && (await permission(upload.handle, false))) await this.#reopen(upload);
    }
    this.#pump();
  }

  /** Continues those with a handle, which the browser asks the person for. To be called from a click. */
  async reopenLost(): Promise<void> {
    for (const upload of this.items.filter(({ state, handle }) => state === 'lost' && handle !== null)) {
      if (upload.handle && (await permission(upload.handle, true))) await this.#reopen(upload);
    }
    this.#pump();
  }

  async #reopen(upload: Upload): Promise<void> {
    try {
      const file = await upload.handle?.getFile();
      if (file) this.#found(upload, file);
    } catch {
      // It was moved or removed: it may still be chosen by hand.
      upload.handle = null;
    }
    this.#notice();
  }

  /** Continues the uploads that these files belong to, by name, size and time. Answers those that belong to none. */
  offer(files: File[]): File[] {
    const lost = new Map<string, Upload[]>();
    const key = (name: string, size: number, mtime: number): string => `${size} ${mtime} ${name}`;
    for (const upload of this.items.filter(({ state }) => state === 'lost')) {
      const name = key(upload.path.slice(upload.path.lastIndexOf('/') + 1), upload.size, upload.mtime);
      lost.set(name, [...(lost.get(name) ?? []), upload]);
    }
    const rest = files.filter((file) => {
      const same = lost.get(key(file.name, file.size, file.lastModified));
      // Of several with one name, the one whose directories fit best.
      const upload = same?.find(({ path }) => path.endsWith(`/${file.webkitRelativePath}`)) ?? same?.[0];
      if (!upload) return true;
      same?.splice(same.indexOf(upload), 1);
      this.#found(upload, file);
      return false;
    });
    this.#pump();
    return rest;
  }

  #found(upload: Upload, file: File): void {
    if (file.size !== upload.size || file.lastModified !== upload.mtime) return;
    upload.file = file;
    this.#wait(upload);
  }

  pause(upload: Upload): void {
    if (!['waiting', 'active', 'retrying'].includes(upload.state)) return;
    this.#stop(upload);
    upload.state = 'paused';
    upload.rate.reset();
    this.#pump();
  }

  resume(upload: Upload): void {
    if (!['paused', 'failed', 'retrying'].includes(upload.state)) return;
    upload.tries = 0;
    if (upload.file) this.#wait(upload);
    else upload.state = 'lost';
    this.#pump();
  }

  pauseAll(): void {
    for (const upload of this.items) this.pause(upload);
  }

  resumeAll(): void {
    for (const upload of this.items) this.resume(upload);
  }

  /** Ends uploads; what the node has of them is removed. */
  cancel(uploads: Upload[]): void {
    const gone = new Set(uploads);
    for (const upload of gone) {
      this.#stop(upload);
      if (upload.url !== null && upload.state !== 'done') void this.#options.transport.discard(upload.url).catch(() => {});
    }
    this.#forget(uploads);
    const kept = this.items.filter((upload) => !gone.has(upload));
    this.items.splice(0, this.items.length, ...kept);
    this.#waiting = this.#waiting.filter((upload) => !gone.has(upload));
    this.#pump();
  }

  /** Takes those that are done off the list. */
  clearDone(): void {
    this.items.splice(0, this.items.length, ...this.items.filter(({ state }) => state !== 'done'));
    this.#notice();
  }

  /** Tries everything again that waits for its time: the network is back. */
  handleOnline(): void {
    for (const upload of this.items) {
      if (upload.state === 'retrying') this.#wait(upload);
    }
    this.#pump();
  }

  get isBusy(): boolean {
    return this.items.some(({ state }) => state === 'active' || state === 'waiting' || state === 'retrying' || state === 'conflict');
  }

  totals(): Totals {
    const totals = { files: this.items.length, done: 0, failed: 0, lost: 0, paused: 0, busy: false, bytes: 0, sent: 0, perSec: 0, secs: 0 };
    for (const { state, size, offset } of this.items) {
      totals.bytes += size;
      totals.sent += state === 'done' ? size : offset;
      if (state === 'done') totals.done += 1;
      else if (state === 'failed') totals.failed += 1;
      else if (state === 'lost') totals.lost += 1;
      else if (state === 'paused') totals.paused += 1;
      else totals.busy = true;
    }
    totals.perSec = this.#rate.perSec(this.#now());
    totals.secs = totals.perSec > 0 ? (totals.bytes - totals.sent) / totals.perSec : Number.POSITIVE_INFINITY;
    return totals;
  }

  /** Seconds that an upload still takes; infinite where it can't be said. */
  secsOf(upload: Upload): number {
    const perSec = upload.rate.perSec(this.#now());
    return perSec > 0 ? (upload.size - upload.offset) / perSec : Number.POSITIVE_INFINITY;
  }

  rateOf(upload: Upload): number {
    return upload.state === 'active' ? upload.rate.perSec(this.#now()) : 0;
  }

  #wait(upload: Upload): void {
    upload.state = 'waiting';
    upload.error = null;
    this.#waiting.push(upload);
  }

  #pump(): void {
    while (this.#stops.size < PARALLEL) {
      const next = this.#waiting.shift();
      if (!next) break;
      if (next.state === 'waiting' && next.file) this.#start(next, next.file);
    }
    this.#notice();
  }

  #start(upload: Upload, file: File): void {
    upload.state = 'active';
    let isOver = false;
    const stop = this.#options.transport.send(upload, file, {
      progress: (offset) => !isOver && this.#handleProgress(upload, offset),
      located: (url) => {
        upload.url = url;
        void this.#store([upload]);
      },
      ended: (ending) => {
        if (isOver) return;
        isOver = true;
        this.#stops.delete(upload);
        this.#handleEnd(upload, ending);
        this.#pump();
      },
    });
    if (isOver) return;
    this.#stops.set(upload, () => {
      isOver = true;
      stop();
    });
  }

  #handleProgress(upload: Upload, offset: number): void {
    const now = this.#now();
    this.#moved += Math.max(offset - upload.offset, 0);
    // Only what goes on from where the node stands counts; the first report of a resumed one says where that is.
    if (offset > upload.offset) upload.tries = 0;
    upload.offset = offset;
    upload.rate.note(offset, now);
    this.#rate.note(this.#moved, now);
    this.#notice();
  }

  #handleEnd(upload: Upload, ending: Ending): void {
    upload.rate.reset();
    if (ending.kind === 'done') return this.#handleDone(upload);
    if (ending.kind === 'exists') return this.#handleExists(upload);
    if (ending.kind === 'signedOut') {
      upload.state = 'paused';
      return;
    }
    upload.error = ending.error;
    if (ending.kind === 'failed') {
      upload.state = 'failed';
      return;
    }
    const secs = Math.max(RETRY_SECS[Math.min(upload.tries, RETRY_SECS.length - 1)] ?? 1, ending.afterSecs ?? 0);
    upload.tries += 1;
    upload.state = 'retrying';
    upload.retryAt = this.#now() + secs * 1000;
    this.#planWake();
  }

  #handleDone(upload: Upload): void {
    const now = this.#now();
    this.#moved += Math.max(upload.size - upload.offset, 0);
    this.#rate.note(this.#moved, now);
    upload.offset = upload.size;
    upload.state = 'done';
    upload.file = upload.handle = null;
    this.#forget([upload]);
    this.ondone(upload);
  }

  #handleExists(upload: Upload): void {
    upload.offset = 0;
    upload.url = null;
    if (upload.batch.choice !== null) return this.#apply(upload, upload.batch.choice);
    upload.state = 'conflict';
    this.#asking ??= this.#askAll().finally(() => (this.#asking = null));
  }

  /** One question after the other, as long as there is one. */
  async #askAll(): Promise<void> {
    for (let next = this.#conflict(); next; next = this.#conflict()) {
      const { choice, all } = next.batch.choice === null ? await this.#options.ask(next) : { choice: next.batch.choice, all: true };
      if (all) next.batch.choice = choice;
      if (next.state === 'conflict') this.#apply(next, choice);
      this.#pump();
    }
  }

  #conflict(): Upload | undefined {
    return this.items.find(({ state }) => state === 'conflict');
  }

  #apply(upload: Upload, choice: Choice): void {
    if (choice === 'skip') {
      // Later: this may be called in the middle of the end of this very upload.
      upload.state = 'paused';
      queueMicrotask(() => this.cancel([upload]));
      return;
    }
    if (choice === 'replace') upload.replace = true;
    else upload.path = this.#options.beside(upload.path);
    void this.#store([upload]);
    this.#wait(upload);
  }

  #planWake(): void {
    if (this.#wake !== null) clearTimeout(this.#wake);
    const times = this.items.filter(({ state }) => state === 'retrying').map(({ retryAt }) => retryAt);
    if (times.length === 0) return;
    this.#wake = setTimeout(() => {
      for (const upload of this.items) {
        if (upload.state === 'retrying' && upload.retryAt <= this.#now() + 50) this.#wait(upload);
      }
      this.#pump();
      this.#planWake();
    }, Math.max(Math.min(...times) - this.#now(), 0));
  }

  #stop(upload: Upload): void {
    this.#stops.get(upload)?.();
    this.#stops.delete(upload);
  }

  #store(uploads: Upload[]): Promise<void> {
    const { owner } = this.#options.store;
    const alive = uploads.filter(({ state }) => state !== 'done');
    return this.#options.store.put(
      alive.map(({ id, path, size, mtime, url, replace, created, handle }) => ({ id, owner, path, size, mtime, url, replace, created, handle }) satisfies UploadRecord),
    );
  }

  #forget(uploads: Upload[]): void {
    void this.#options.store.remove(uploads.map(({ id }) => id));
  }
}

const fresh = (): Pick<Upload, 'offset' | 'error' | 'rate' | 'retryAt' | 'tries'> => ({ offset: 0, error: null, rate: new Rate(), retryAt: 0, tries: 0 });

/** Whether a file may be read again. */
async function permission(handle: FileSystemFileHandle, ask: boolean): Promise<boolean> {
  type Permit = (options: { mode: 'read' }) => Promise<PermissionState>;
  const permits = handle as unknown as { queryPermission?: Permit; requestPermission?: Permit };
  const find = ask ? permits.requestPermission : permits.queryPermission;
  if (!find) return true;
  try {
    return (await find.call(handle, { mode: 'read' })) === 'granted';
  } catch {
    return false;
  }
}
