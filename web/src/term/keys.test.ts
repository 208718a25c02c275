import { expect, test } from 'vitest';
import { keyText, modified } from './keys';

const none = { ctrl: false, alt: false };

test('keys of the bar send what a keyboard would', () => {
  expect(keyText('Esc', none, false)).toBe('\x1b');
  expect(keyText('Up', none, false)).toBe('\x1b[A');
  expect(keyText('Up', none, true)).toBe('\x1bOA');
  expect(keyText('Left', { ctrl: true, alt: false }, true)).toBe('\x1b[1;5D');
  expect(keyText('PgDn', none, false)).toBe('\x1b[6~');
  expect(keyText('PgUp', { ctrl: false, alt: true }, false)).toBe('\x1b[5;3~');
  expect(keyText('|', none, false)).toBe('|');
});

test('Ctrl and Alt that were tapped before go with the next character', () => {
  expect(modified('c', { ctrl: true, alt: false })).toBe('\x03');
  expect(modified('[', { ctrl: true, alt: false })).toBe('\x1b');
  expect(modified('x', { ctrl: false, alt: true })).toBe('\x1bx');
  expect(modified('中', { ctrl: true, alt: false })).toBe('中');
  expect(modified('\x1b[A', { ctrl: true, alt: true })).toBe('\x1b[A');
});
