import { expect, test } from 'vitest';
import { BrokenLink, decode, encode, encodeJson, Kind, large, parse } from './frame';

test('a frame is 8 bytes of prefix and its payload', () => {
  const message = encode(Kind.Data, Uint8Array.of(7, 8, 9));
  expect([...message]).toEqual([3, 0, 0, 0, 0, 0, 0, 1, 7, 8, 9]);
  expect(decode(message.buffer)).toEqual({ kind: Kind.Data, payload: Uint8Array.of(7, 8, 9) });
});

test('what is not exactly one frame is refused', () => {
  const message = encode(Kind.Head, Uint8Array.of(1, 2));
  for (let len = 0; len < message.length; len++) expect(() => decode(message.slice(0, len).buffer)).toThrow(BrokenLink);
  expect(() => decode(Uint8Array.of(...message, 0).buffer)).toThrow(BrokenLink);
  expect(() => decode(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x09).buffer)).toThrow(BrokenLink);
  expect(() => decode(encode(Kind.Credit, new Uint8Array(4097)).buffer)).toThrow(BrokenLink);
  expect(() => decode(Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 0).buffer)).toThrow(BrokenLink);
});

test('an unknown kind from 0x80 on is skipped', () => {
  expect(decode(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0x80, 5).buffer)).toBeNull();
});

test('heads are objects, large integers numbers or digits', () => {
  const frame = decode(encodeJson(Kind.Head, { to: '65536' }).buffer);
  expect(large(parse(frame?.payload ?? new Uint8Array()).to)).toBe(65536);
  for (const bad of ['[1]', '"a"', 'null', '{', '\xff']) expect(() => parse(Uint8Array.from(bad, (c) => c.charCodeAt(0)))).toThrow(BrokenLink);
  for (const bad of [-1, 1.5, '1e3', '99999999999999999999', null, undefined, {}]) expect(() => large(bad)).toThrow(BrokenLink);
});
