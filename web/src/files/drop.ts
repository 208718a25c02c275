// What was dropped or picked, as directories and files below a directory of the machine.

import { join, type Name } from '../lib/bytes';
import type { Picked } from '../lib/upload';

export interface Gathered {
  /** Directories that there have to be, below the target. */
  dirs: Name[];
  files: Picked[];
}

/** Says how many files were found by now. */
type Found = (count: number) => void;

interface Handle {
  kind: 'file' | 'directory';
  name: string;
  getFile?: () => Promise<File>;
  values?: () => AsyncIterable<Handle>;
}

/**
 * Takes what a drop holds. To be called while the event is handled: afterwards the browser answers nothing any more. Where there are handles, they are
 * taken, because a page that is loaded anew can read them again.
 */
export function gatherDrop(transfer: DataTransfer, target: Name, found: Found): Promise<Gathered> {
  const items = [...transfer.items].filter(({ kind }) => kind === 'file');
  const taken = items.map((item) => {
    const withHandle = item as DataTransferItem & { getAsFileSystemHandle?: () => Promise<Handle | null> };
    const handle = withHandle.getAsFileSystemHandle?.().catch(() => null) ?? Promise.resolve(null);
    return { handle, entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() };
  });
  return walkAll(taken, target, found);
}

async function walkAll(taken: { handle: Promise<Handle | null>; entry: FileSystemEntry | null; file: File | null }[], target: Name, found: Found): Promise<Gathered> {
  const gathered: Gathered = { dirs: [], files: [] };
  for (const { handle, entry, file } of taken) {
    const known = await handle;
    if (known && (known.kind === 'file' || known.values)) await walkHandle(known, target, gathered, found);
    else if (entry) await walkEntry(entry, target, gathered, found);
    else if (file) gathered.files.push({ path: join(target, file.name), file, handle: null });
  }
  found(gathered.files.length);
  return gathered;
}

async function walkHandle(handle: Handle, into: Name, gathered: Gathered, found: Found): Promise<void> {
  const path = join(into, handle.name);
  if (handle.kind === 'file') {
    const file = await handle.getFile?.();
    if (file) gathered.files.push({ path, file, handle: handle as unknown as FileSystemFileHandle });
    if (gathered.files.length % 100 === 0) found(gathered.files.length);
    return;
  }
  gathered.dirs.push(path);
  for await (const child of handle.values?.() ?? []) await walkHandle(child, path, gathered, found);
}

/** Goes through an entry of a drop and what is in it. */
export async function walkEntry(entry: FileSystemEntry, into: Name, gathered: Gathered, found: Found): Promise<void> {
  const path = join(into, entry.name);
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    gathered.files.push({ path, file, handle: null });
    if (gathered.files.length % 100 === 0) found(gathered.files.length);
    return;
  }
  gathered.dirs.push(path);
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // Browsers answer a hundred at a time; only an empty answer is the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const child of some) await walkEntry(child, path, gathered, found);
  }
}

/** Takes what was chosen with `<input type="file">`, of a folder too. */
export function gatherInput(files: Iterable<File>, target: Name): Gathered {
  const dirs = new Set<Name>();
  const picked: Picked[] = [];
  for (const file of files) {
    const parts = (file.webkitRelativePath || file.name).split('/');
    for (let depth = 1; depth < parts.length; depth++) dirs.add(join(target, parts.slice(0, depth).join('/')));
    picked.push({ path: join(target, parts.join('/')), file, handle: null });
  }
  return { dirs: [...dirs], files: picked };
}

type Picker = (options: { multiple: boolean }) => Promise<FileSystemFileHandle[]>;

/** Lets the person choose files, with handles; null where the browser gives none. */
export async function pickFiles(target: Name): Promise<Gathered | null> {
  const pick = (window as unknown as { showOpenFilePicker?: Picker }).showOpenFilePicker;
  if (!pick) return null;
  try {
    const handles = await pick({ multiple: true });
    const files = await Promise.all(handles.map(async (handle) => ({ path: join(target, handle.name), file: await handle.getFile(), handle })));
    return { dirs: [], files };
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return { dirs: [], files: [] };
    return null;
  }
}
