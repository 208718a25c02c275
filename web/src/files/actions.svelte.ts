// What the file manager does to files: one after the other, with a count of what is done, a question where a name is taken, and a report of what failed.

import { ApiError } from '../lib/api';
import { baseName, display, join, type Name, nameOf, parent } from '../lib/bytes';
import { errorWords } from '../lib/errors';
import { askText, confirm } from '../lib/ui/ask.svelte';
import { toast } from '../lib/ui/toast.svelte';
import type { Choice } from '../lib/upload';
import type { Browser, Entry } from './browser.svelte';
import * as client from './client';
import { askTaken } from './conflict.svelte';
import { fromField, isName, isStrange, isWithin, numbered, stemLength, toField } from './names';
import { t } from './strings';

/** A path and whether it is a directory. */
export interface Item {
  path: Name;
  isDir: boolean;
  size: number | null;
  time: number | null;
}

/** Work on many files. */
interface Job {
  label: string;
  done: number;
  total: number;
  stopped: boolean;
}

interface Failure {
  path: Name;
  error: unknown;
}

export class Actions {
  /** What was cut or copied. */
  clipboard: { items: Item[]; cut: boolean } | null = $state.raw(null);
  job: Job | null = $state(null);
  #browser: Browser;
  #cutPaths = $derived(new Set(this.clipboard?.cut ? this.clipboard.items.map(({ path }) => path) : []));

  constructor(browser: Browser) {
    this.#browser = browser;
  }

  isCut(entry: Entry): boolean {
    return this.#cutPaths.size > 0 && this.#cutPaths.has(this.#browser.pathOf(entry));
  }

  /** What is chosen, as paths. */
  items(): Item[] {
    return this.#browser.chosen().map((entry) => this.item(entry));
  }

  item(entry: Entry): Item {
    const isDir = entry.kind === 'dir';
    return { path: this.#browser.pathOf(entry), isDir, size: isDir ? null : entry.size, time: entry.time };
  }

  async newFolder(): Promise<void> {
    const name = await this.#askName({ title: t('newFolder'), label: t('nameOfFolder'), action: t('newFolder') });
    if (name === null) return;
    await this.#tell(async () => {
      await client.makeDir(join(this.#browser.path, name));
      await this.#browser.reload([name]);
    });
  }

  /** Makes an empty file. Answers its path, null where none was made. */
  async newFile(): Promise<Name | null> {
    const name = await this.#askName({ title: t('newFile'), label: t('nameOfFile'), action: t('newFile') });
    if (name === null) return null;
    const path = join(this.#browser.path, name);
    return (await this.#tell(async () => {
      await client.write(path, '', null);
      await this.#browser.reload([name]);
      return path;
    })) ?? null;
  }

  async rename(entry: Entry): Promise<void> {
    const strange = isStrange(entry.name);
    const value = toField(entry.name);
    const select = strange || entry.kind === 'dir' ? value.length : stemLength(entry.name);
    const name = await this.#askName({ title: t('rename'), label: t('newName'), action: t('rename'), value, select, strange, old: entry.name });
    if (name === null || name === entry.name) return;
    await this.#tell(async () => {
      await client.move(this.#browser.pathOf(entry), join(this.#browser.path, name), false);
      await this.#browser.reload([name]);
    });
  }

  async #askName(question: { title: string; label: string; action: string; value?: string; select?: number; strange?: boolean; old?: Name }): Promise<Name | null> {
    const { strange = false, old, ...rest } = question;
    const check = (text: string): string | null => {
      const name = fromField(text, strange);
      if (!isName(name)) return t('badName');
      return name !== old && this.#browser.hasName(name) ? t('nameTaken') : null;
    };
    const answer = await askText({ ...rest, check, ...(strange ? { text: t('strangeName') } : {}) });
    return answer === null ? null : fromField(answer, strange);
  }

  cut(): void {
    this.clipboard = { items: this.items(), cut: true };
  }

  copy(): void {
    this.clipboard = { items: this.items(), cut: false };
  }

  async paste(into: Name = this.#browser.path): Promise<void> {
    const { clipboard } = this;
    if (clipboard === null) return;
    if (clipboard.cut) this.clipboard = null;
    await this.transfer(clipboard.items, into, clipboard.cut ? 'move' : 'copy');
  }

  /** Moves or copies into a directory. */
  async transfer(items: Item[], into: Name, how: 'move' | 'copy'): Promise<void> {
    const fits = items.filter(({ path, isDir }) => !(isDir && isWithin(into, path)));
    if (fits.length < items.length) toast(t('into'), 'error');
    const wanted = how === 'move' ? fits.filter(({ path }) => parent(path) !== into) : fits;
    let all: Choice | null = null;
    const made: Name[] = [];
    const done = await this.#each(t(how === 'move' ? 'moveTo' : 'copyTo'), wanted, async (item) => {
      const answer = await this.#transferOne(item, into, how, all, wanted.length > 1);
      if (answer.all) all = answer.choice;
      if (answer.name !== null) made.push(answer.name);
      return answer.name !== null;
    });
    await this.#browser.reload(into === this.#browser.path ? made : []);
    if (done > 0) toast(t(how === 'move' ? 'movedN' : 'copiedN', { n: done }), 'ok');
  }

  async #transferOne(item: Item, into: Name, how: 'move' | 'copy', known: Choice | null, many: boolean): Promise<{ name: Name | null; choice: Choice | null; all: boolean }> {
    // A copy beside itself can only be another one.
    const isBeside = parent(item.path) === into;
    let name = isBeside ? numbered(baseName(item.path), item.isDir) : baseName(item.path);
    let choice: Choice | null = isBeside ? 'keep' : null;
    let all = false;
    for (;;) {
      try {
        await moveOrCopy(item.path, join(into, name), how, choice === 'replace');
        return { name, choice, all };
      } catch (error) {
        if (!(error instanceof ApiError && error.name === 'Exists') || choice === 'replace') throw error;
      }
      if (choice === null) {
        const answer = known === null ? await askTaken({ path: join(into, name), size: item.size, time: item.time, many }) : { choice: known, all: false };
        ({ choice, all } = answer);
      }
      if (choice === 'skip') return { name: null, choice, all };
      if (choice === 'keep') name = numbered(name, item.isDir);
    }
  }

  async remove(): Promise<void> {
    const items = this.items();
    const [first] = items;
    if (!first) return;
    const title = items.length === 1 ? t('deleteOne', { name: display(baseName(first.path)) }) : t('deleteMany', { n: items.length });
    const text = items.some(({ isDir }) => isDir) ? t('deleteDir') : t('deleteText');
    if (!(await confirm({ title, text, action: t('remove'), danger: true }))) return;
    const done = await this.#each(t('remove'), items, async ({ path }) => {
      const { failed, failures } = await client.remove(path);
      const [failure] = failures;
      if (failed > 0) throw failure ? new ApiError(0, { ...failure.why, path: failure.path }) : new Error(t('nFailed', { n: failed }));
      return true;
    });
    await this.#browser.reload([]);
    if (done > 0) toast(t('deleted', { n: done }), 'ok');
  }

  async setModes(items: Item[], mode: number): Promise<void> {
    await this.#each(t('permissions'), items, async ({ path }) => {
      await client.setMode(path, mode);
      return true;
    });
    await this.#browser.reload();
  }

  /** Does something to each, one after the other, and says what failed. Answers how many were done. */
  async #each(label: string, items: Item[], act: (item: Item) => Promise<boolean>): Promise<number> {
    const failures: Failure[] = [];
    let done = 0;
    this.job = { label, done: 0, total: items.length, stopped: false };
    const { job } = this;
    for (const item of items) {
      if (job.stopped) break;
      try {
        if (await act(item)) done += 1;
      } catch (error) {
        failures.push({ path: item.path, error });
        if (error instanceof ApiError && (error.status === 401 || error.name === 'Offline')) break;
      }
      job.done += 1;
    }
    this.job = null;
    report(failures);
    return done;
  }

  async #tell<T>(act: () => Promise<T>): Promise<T | undefined> {
    try {
      return await act();
    } catch (error) {
      toast(errorWords(error), 'error');
      return undefined;
    }
  }
}

async function moveOrCopy(from: Name, to: Name, how: 'move' | 'copy', replace: boolean): Promise<void> {
  if (how === 'move') {
    try {
      return await client.move(from, to, replace);
    } catch (error) {
      if (!(error instanceof ApiError && error.name === 'OtherFileSystem')) throw error;
    }
  }
  const { failed, failures } = await client.copy(from, to, replace);
  const [first] = failures;
  if (failed > 0) throw first ? new ApiError(0, { ...first.why, path: first.path }) : new Error(t('nFailed', { n: failed }));
  // Only what was copied whole is removed where it was.
  if (how === 'move') await client.remove(from);
}

function report(failures: Failure[]): void {
  const [first] = failures;
  if (!first) return;
  const path = display(first.error instanceof ApiError && first.error.path !== null ? first.error.path : first.path);
  const why = errorWords(first.error instanceof ApiError ? new ApiError(first.error.status, { code: first.error.code, name: first.error.name, message: first.error.message }) : first.error);
  toast(failures.length === 1 ? `${path}: ${why}` : t('failedSome', { n: failures.length, path, why }), 'error');
}

/** Lets the browser's own download manager save what is at an address. */
export function download(url: string): void {
  const link = document.createElement('a');
  link.href = url;
  link.download = '';
  document.body.append(link);
  link.click();
  link.remove();
}

/** Downloads: one file as it is, everything else as one archive. */
export function downloadItems(items: Item[], format: 'zip' | 'tar' = 'zip'): void {
  const [first] = items;
  if (!first) return;
  if (items.length === 1 && !first.isDir) download(client.contentUrl(first.path, 'download'));
  else download(client.archiveUrl(items.map(({ path }) => path), format));
}

/** Puts a text where other programs can paste it. */
export async function toClipboard(text: string, said: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    toast(said, 'ok');
  } catch {
    toast(t('copyFailed'), 'error');
  }
}

/** Bytes of names as the machine has them. */
export const realPath = (root: Name, path: Name): Name => (root === '/' ? path : path === '/' ? root : `${nameOf(root).replace(/\/$/, '')}${path}`);
