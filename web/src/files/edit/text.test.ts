import { expect, it } from 'vitest';

import { decode, encode, looksBinary, type TextFile } from './text';

const utf8 = (text: string) => new TextEncoder().encode(text);
const back = (file: TextFile) => encode(file.text, file);

it('keeps every byte of what was not changed', () => {
  for (const text of ['', 'a', 'a\nb\n', 'a\r\nb\r\n', 'a\nb\r\n\rc', '\ufeffa\r\nb', 'ä汉😀\n', '\r']) {
    const file = decode(utf8(text), null);
    expect(file.isExact, JSON.stringify(text)).toBe(true);
    expect(back(file)).toEqual(utf8(text));
  }
});

it('knows line ends and marks', () => {
  expect(decode(utf8('a\r\nb\r\n'), null)).toMatchObject({ text: 'a\nb\n', ends: '\r\n', bom: false });
  expect(decode(utf8('a\nb\r\n'), null)).toMatchObject({ text: 'a\nb\r\n', ends: 'mixed' });
  expect(decode(utf8('\ufeffa'), null)).toMatchObject({ text: 'a', bom: true, encoding: 'utf-8' });
  expect(decode(new Uint8Array([0xff, 0xfe, 0x61, 0]), null)).toMatchObject({ text: 'a', bom: true, encoding: 'utf-16le', isExact: true });
  const added = decode(utf8('a\r\n'), null);
  expect(encode('a\nb\n', added)).toEqual(utf8('a\r\nb\r\n'));
});

it('will not write what it could not read', () => {
  const latin = new Uint8Array([0x61, 0xe4, 0x0a]);
  expect(decode(latin, null).isExact).toBe(false);
  expect(decode(latin, 'windows-1252')).toMatchObject({ text: 'aä\n', isExact: true });
  expect(decode(new Uint8Array([0xd6, 0xd0]), 'gbk')).toMatchObject({ text: '中', isExact: true });
  expect(decode(new Uint8Array([0x61, 0x00, 0x62]), 'utf-16le').isExact).toBe(false);
  expect(decode(new Uint8Array([0x00, 0xd8]), 'utf-16le').isExact).toBe(false);
});

it('says which character an encoding does not have', () => {
  expect(encode('aä€汉', { encoding: 'iso-8859-15', bom: false, ends: '\n' })).toEqual({ char: '汉' });
});

it('tells a program from a text', () => {
  expect(looksBinary(new Uint8Array([0x7f, 0x45, 0, 1]))).toBe(true);
  expect(looksBinary(new Uint8Array([0xff, 0xfe, 0x61, 0]))).toBe(false);
  expect(looksBinary(utf8('plain'))).toBe(false);
});
