import { expect, it } from 'vitest';

import { order, parseListing, rankByName, type SortKey, visible, type WireEntry } from './listing';

const table = (entries: WireEntry[]) => parseListing(new TextEncoder().encode(JSON.stringify({ entries })));

const SAMPLE = table([
  { name: 'b10.txt', kind: 'file', size: 5, mtime: [30, 0] },
  { name: 'b9.txt', kind: 'file', size: 7, mtime: [10, 5_000_000] },
  { name: '.hidden', kind: 'file', size: 1, mtime: [20, 0] },
  { name: 'zoo', kind: 'dir', mtime: [1, 0] },
  { name: 'a.rs', kind: 'link', size: 5, mtime: [2, 0], target: '/x/y' },
  { name: { b64: '/w==' }, kind: 'file', size: 5, mtime: [3, 0] },
]);
const ranks = rankByName(SAMPLE.texts);
const sorted = (key: SortKey, descending = false) =>
  [...order(SAMPLE, ranks, { key, descending })].map((row) => SAMPLE.texts[row]);

it('sorts numbers in names by value, directories first', () => {
  const names = sorted('name');
  expect(names[0]).toBe('zoo');
  expect(names.indexOf('b9.txt')).toBeLessThan(names.indexOf('b10.txt'));
  expect(sorted('name', true)[0]).toBe('zoo');
  expect(sorted('name', true).indexOf('b10.txt')).toBeLessThan(names.length - 1);
});

it('sorts by size, time and kind, equal ones by name', () => {
  expect(sorted('size').at(-1)).toBe('b9.txt');
  expect(sorted('time', true)[1]).toBe('b10.txt');
  expect(sorted('kind').at(-1)).toBe('a.rs');
});

it('keeps what is no UTF-8 and what a link leads to', () => {
  expect(SAMPLE.names[5]).toBe('\udcff');
  expect(SAMPLE.texts[5]).toBe('\\xff');
  expect(SAMPLE.targets.get(4)).toBe('/x/y');
  expect(SAMPLE.times[1]).toBe(10_005);
});

it('shows hidden names only when asked, and finds without regard to case', () => {
  const rows = order(SAMPLE, ranks, { key: 'name', descending: false });
  expect(visible(SAMPLE, rows, false, '')).toHaveLength(5);
  expect(visible(SAMPLE, rows, true, '')).toHaveLength(6);
  expect([...visible(SAMPLE, rows, true, 'B1')].map((row) => SAMPLE.texts[row])).toEqual(['b10.txt']);
});

it('reads and sorts 100,000 entries in a time that a person can wait', () => {
  const many = table(Array.from({ length: 100_000 }, (_, n) => ({ name: `file ${(n * 7919) % 100_000}.txt`, kind: 'file', size: n })));
  const rows = order(many, rankByName(many.texts), { key: 'name', descending: false });
  expect(many.texts[rows[0] ?? 0]).toBe('file 0.txt');
  expect(many.texts[rows[99_999] ?? 0]).toBe('file 99999.txt');
});
