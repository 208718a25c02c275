// What the file manager does with names beyond `lib/bytes`: putting them into text fields and reading them back, comparing paths.

import { display, fromBytes, type Name, toBytes } from '../lib/bytes';

/** Removes doubled slashes, `.` and `..`; answers an absolute path. */
export function tidy(path: Name): Name {
  const out: Name[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') out.pop();
    else out.push(part);
  }
  return `/${out.join('/')}`;
}

/** Whether `path` is `dir` or below it. */
export const isWithin = (path: Name, dir: Name): boolean => path === dir || path.startsWith(dir === '/' ? '/' : `${dir}/`);

/** The directories above a path and itself, from the root on. */
export function ancestors(path: Name): Name[] {
  const parts = path.split('/').filter((part) => part !== '');
  return ['/', ...parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`)];
}

/** Whether a name can't be put into a text field as it is. */
export const isStrange = (name: Name): boolean => display(name) !== name;

/** A name or path for a text field: as it is, or, where it is strange, with escapes and doubled backslashes. */
export function toField(name: Name): string {
  if (!isStrange(name)) return name;
  return name.split('\\').map(display).join('\\\\');
}

/** Reads a text field back; `strange` is what `isStrange` said of what was put into it. */
export function fromField(text: string, strange: boolean): Name {
  if (!strange) return text.toWellFormed();
  const out: number[] = [];
  const pattern = /\\(?:x([0-9a-f]{2})|u\{([0-9a-f]{1,6})\}|([nt\\]))|[^\\]|\\/giu;
  const plain: Record<string, string> = { n: '\n', t: '\t', '\\': '\\' };
  for (const [all, byte, point, char] of text.matchAll(pattern)) {
    const code = point === undefined ? 0x110000 : Number.parseInt(point, 16);
    if (byte !== undefined) out.push(Number.parseInt(byte, 16));
    else if (code <= 0x10ffff) out.push(...toBytes(String.fromCodePoint(code)));
    else out.push(...toBytes(char === undefined ? all : (plain[char.toLowerCase()] ?? all)));
  }
  return fromBytes(Uint8Array.from(out));
}

/** Whether a file can have this name at all; what the file system refuses beyond that, the node says. */
export function isName(name: Name): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0') && toBytes(name).length <= 255;
}

/** The part after the last dot, lower case, without it; empty for none and for names that only start with one. */
export function extension(name: Name): string {
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : '';
}

/** How many characters of a name come before its extension. */
export function stemLength(name: Name): number {
  const double = /\.tar\.[a-z0-9]+$/i.exec(name);
  if (double && double.index > 0) return double.index;
  const dot = name.lastIndexOf('.');
  return dot > 0 ? dot : name.length;
}

/** `name (2).ext` for the second of a name; one higher where there is a number. */
export function numbered(name: Name, isDir = false): Name {
  const cut = isDir ? name.length : stemLength(name);
  const [stem, rest] = [name.slice(0, cut), name.slice(cut)];
  const match = /^([^]*) \((\d{1,9})\)$/.exec(stem);
  return match ? `${match[1]} (${Number(match[2]) + 1})${rest}` : `${stem} (2)${rest}`;
}
