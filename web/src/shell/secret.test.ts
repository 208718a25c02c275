import { expect, test } from 'vitest';
import { browserName } from './account.svelte';
import { secretOf } from './secret';

test('the secret of a link is what signing in takes', () => {
  const key = 'A'.repeat(43);
  expect(secretOf(`https://box:8690/#tow1.${key}.c2VjcmV0-_`)).toBe('c2VjcmV0-_');
  expect(secretOf(`  #tow1.${key}.abc \n`)).toBe('abc');
  expect(secretOf('https://box:8690/#tows1.abc')).toBe('abc');
  expect(secretOf('#towo1.abc')).toBe('towo1.abc');
});

test('whatever else is no secret', () => {
  for (const link of ['', 'https://box:8690/', '#/files/tow1.a.b', '#tow1.abc', '#tow1..', '#tow2.a.b', '#tows1.a.b', '#towo1.', 'tow1 a b', '#tow1.a.b<script>']) {
    expect(secretOf(link), link).toBeNull();
  }
});

test('a browser is called what a person would call it', () => {
  expect(browserName('Mozilla/5.0 (Android 16; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0')).toBe('Firefox on Android');
  expect(browserName('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36')).toBe('Chrome on Linux');
  expect(browserName('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Safari/605.1.15')).toBe('Safari on macOS');
  expect(browserName('something')).toBe('Browser');
});
