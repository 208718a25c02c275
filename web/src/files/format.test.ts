import { expect, it } from 'vitest';

import * as format from './format';

it('shows sizes in three digits', () => {
  const shown = [0, 999, 1000, 1024, 1536, 10239, 1024 ** 2 * 123.4, 1024 ** 3 * 10, 2 ** 53].map(format.size);
  expect(shown).toEqual(['0 B', '999 B', '0.98 KiB', '1.00 KiB', '1.50 KiB', '10.0 KiB', '123 MiB', '10.0 GiB', '8.00 PiB']);
});

it('shows durations without a unit to misread', () => {
  expect([0.2, 65, 7389, Number.POSITIVE_INFINITY].map(format.duration)).toEqual(['0:01', '1:05', '2:03:09', '']);
});

it('shows modes as ls does', () => {
  expect(format.mode(0o755, 'dir')).toBe('drwxr-xr-x');
  expect(format.mode(0o4644, 'file')).toBe('-rwSr--r--');
  expect(format.mode(0o2755, 'file')).toBe('-rwxr-sr-x');
  expect(format.mode(0o1777, 'dir')).toBe('drwxrwxrwt');
  expect(format.octal(0o40755)).toBe('0755');
  expect(format.parseOctal('0644')).toBe(0o644);
  expect(format.parseOctal('888')).toBeNull();
});
