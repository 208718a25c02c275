import { expect, it } from 'vitest';

import { fromBytes } from '../lib/bytes';
import * as names from './names';

it('come back from a text field as the same bytes', () => {
  const bad = fromBytes(new Uint8Array([0x61, 0xff, 0x5c, 0xc3, 0xbc, 0x0a]));
  expect(names.toField(bad)).toBe('a\\xff\\\\ü\\n');
  for (const name of ['a', 'ü b', 'a\\b', 'a\\nb', 'a\nb', '\u202Eexe.txt', '汉字', '\u0085\\\u2028', bad]) {
    expect(names.fromField(names.toField(name), names.isStrange(name))).toBe(name);
  }
});

it('make paths that are absolute and tidy', () => {
  expect(names.tidy('a//b/./c/../d e/')).toBe('/a/b/d e');
  expect(names.tidy('/../..')).toBe('/');
  expect(names.isWithin('/ab', '/a')).toBe(false);
  expect(names.isWithin('/a/b', '/a')).toBe(true);
  expect(names.isWithin('/a', '/')).toBe(true);
  expect(names.ancestors('/a/b')).toEqual(['/', '/a', '/a/b']);
  expect(names.ancestors('/')).toEqual(['/']);
});

it('are refused where no file can have them', () => {
  for (const name of ['', '.', '..', 'a/b', 'a\0', '汉'.repeat(86)]) expect(names.isName(name)).toBe(false);
  expect(names.isName('汉'.repeat(85))).toBe(true);
});

it('are numbered before the extension', () => {
  expect(names.numbered('a.txt')).toBe('a (2).txt');
  expect(names.numbered('a (2).txt')).toBe('a (3).txt');
  expect(names.numbered('.bashrc')).toBe('.bashrc (2)');
  expect(names.numbered('a.tar.gz')).toBe('a (2).tar.gz');
  expect(names.numbered('v1.2', true)).toBe('v1.2 (2)');
});
