import { expect, test } from 'vitest';
import { Pacer } from './pacer';

test('a megabyte is shown in small pieces, few at a time, each counted once', () => {
  const underway: { len: number; done: () => void }[] = [];
  let shown = 0;
  let most = 0;
  const pacer = new Pacer(
    (bytes, _stream, done) => {
      underway.push({ len: bytes.length, done });
      most = Math.max(most, underway.reduce((sum, one) => sum + one.len, 0));
    },
    (_stream, bytes) => (shown += bytes),
  );
  pacer.push(new Uint8Array(1 << 20), 1);
  for (let one = underway.shift(); one; one = underway.shift()) one.done();
  expect([shown, most]).toEqual([1 << 20, 64 << 10]);
});

test('what is dropped counts as shown, what is under way when it is', () => {
  const done: (() => void)[] = [];
  let shown = 0;
  const pacer = new Pacer((_bytes, _stream, call) => done.push(call), (_stream, bytes) => (shown += bytes));
  pacer.push(new Uint8Array(200 << 10), 1);
  pacer.drop();
  expect(shown).toBe(136 << 10);
  pacer.push(new Uint8Array(10), 1, false);
  while (done.length > 0) done.shift()?.();
  expect(shown).toBe(200 << 10);
});
