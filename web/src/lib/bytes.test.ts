import { describe, expect, test } from 'vitest';
import { baseName, byteString, display, fromBytes, join, nameOf, parent, pathToUrl, toBytes, urlToPath } from './bytes';

describe('names', () => {
  test('bytes survive every form, whatever they are', () => {
    let seed = 1;
    const next = () => (seed = (seed * 48271) % 2147483647);
    for (let round = 0; round < 500; round++) {
      const bytes = Uint8Array.from({ length: next() % 12 }, () => (next() % 3 === 0 ? 0x61 : next() % 256));
      const name = fromBytes(bytes);
      expect(toBytes(name)).toEqual(bytes);
      expect(nameOf(byteString(name))).toBe(name);
      expect(urlToPath(pathToUrl(name))).toBe(name);
    }
  });

  test('valid UTF-8 stays text and other bytes become base64', () => {
    expect(byteString('häß/名')).toBe('häß/名');
    expect(byteString(nameOf({ b64: '/2E=' }))).toEqual({ b64: '/2E=' });
    expect(byteString(nameOf({ b64: 'YQ==' }))).toBe('a');
    expect(byteString(fromBytes(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)))).toBe('\ufeffa');
  });

  test('a URL has no dot that a browser would resolve and no byte that it would change', () => {
    expect(pathToUrl('/../a b?#%')).toBe('/%2E%2E/a%20b%3F%23%25');
    expect(pathToUrl(fromBytes(Uint8Array.of(0x2f, 0xff)))).toBe('/%FF');
    expect(urlToPath('/%zz%4')).toBe('/%zz%4');
  });

  test('what has no shape is shown as an escape', () => {
    expect(display('a\u202egpj.exe')).toBe('a\\u{202e}gpj.exe');
    expect(display('a\u200bb\n\u001b[m')).toBe('a\\u{200b}b\\n\\u{1b}[m');
    expect(display(fromBytes(Uint8Array.of(0x61, 0xff)))).toBe('a\\xff');
    expect(display('名 ä 😀')).toBe('名 ä 😀');
  });

  test('paths are taken apart and put together', () => {
    expect(join('/', 'a')).toBe('/a');
    expect(join('/a', 'b')).toBe('/a/b');
    expect([parent('/a/b'), parent('/a'), parent('/')]).toEqual(['/a', '/', '/']);
    expect([baseName('/a/b/'), baseName('/')]).toEqual(['b', '/']);
  });
});
