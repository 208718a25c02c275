import { expect, it } from 'vitest';

import { type Gathered, gatherInput, walkEntry } from './drop';

/** A directory as browsers give it: at most a hundred entries at a time. */
function directory(name: string, children: FileSystemEntry[]): FileSystemEntry {
  return {
    name,
    isFile: false,
    createReader: () => {
      const rest = [...children];
      return { readEntries: (done: (entries: FileSystemEntry[]) => void) => done(rest.splice(0, 100)) };
    },
  } as unknown as FileSystemEntry;
}

const leaf = (name: string): FileSystemEntry => ({ name, isFile: true, file: (done: (file: File) => void) => done(new File(['x'], name)) }) as unknown as FileSystemEntry;

it('a dropped folder of more than a hundred files is read to its end', async () => {
  const many = Array.from({ length: 250 }, (_, n) => leaf(`f${n}`));
  const gathered: Gathered = { dirs: [], files: [] };
  await walkEntry(directory('top', [directory('empty', []), directory('many', many)]), '/to', gathered, () => {});
  expect(gathered.dirs).toEqual(['/to/top', '/to/top/empty', '/to/top/many']);
  expect(gathered.files).toHaveLength(250);
  expect(gathered.files.at(-1)?.path).toBe('/to/top/many/f249');
});

it('a picked folder keeps its directories', () => {
  const file = new File(['x'], 'c.txt');
  Object.defineProperty(file, 'webkitRelativePath', { value: 'a/b/c.txt' });
  const gathered = gatherInput([file], '/');
  expect(gathered.dirs).toEqual(['/a', '/a/b']);
  expect(gathered.files[0]?.path).toBe('/a/b/c.txt');
});
