// Bytes of a file as text that can be edited, and back: the same bytes, but for what was changed. The mark at the start and the line ends stay.

import { encodeText, encodingName as plainName, ENCODINGS, type Encoding as Plain } from '../../term/encoding';

export type Encoding = Plain | 'utf-16le' | 'utf-16be';
/** What can be chosen. */
export const CHOICES: Encoding[] = [...ENCODINGS, 'utf-16le', 'utf-16be'];

export const encodingName = (encoding: Encoding): string => (encoding.startsWith('utf-16') ? encoding.toUpperCase() : plainName(encoding as Plain));

export interface TextFile {
  /** Lines end in `\n`; where `ends` is `mixed`, in whatever they do. */
  text: string;
  encoding: Encoding;
  bom: boolean;
  ends: '\n' | '\r\n' | 'mixed';
  /** Whether writing the text gives the same bytes. Where it does not, the file must not be written in this encoding. */
  isExact: boolean;
}

const BOMS: [Encoding, number[]][] = [['utf-8', [0xef, 0xbb, 0xbf]], ['utf-16le', [0xff, 0xfe]], ['utf-16be', [0xfe, 0xff]]];

const bomOf = (bytes: Uint8Array): Encoding | null => BOMS.find(([, mark]) => mark.every((byte, at) => bytes[at] === byte))?.[0] ?? null;

/** Reads the content of a file; null: in the encoding that its mark says, or else UTF-8. */
export function decode(bytes: Uint8Array, wanted: Encoding | null): TextFile {
  const marked = bomOf(bytes);
  const encoding = wanted ?? marked ?? 'utf-8';
  const bom = marked === encoding;
  const mark = bom ? (BOMS.find(([one]) => one === encoding)?.[1].length ?? 0) : 0;
  const raw = new TextDecoder(encoding, { ignoreBOM: true }).decode(bytes.subarray(mark));
  const lines = raw.match(/\r\n|\n|\r/g) ?? [];
  const isDos = lines.length > 0 && lines.every((end) => end === '\r\n');
  const ends = isDos ? '\r\n' : lines.every((end) => end === '\n') ? '\n' : 'mixed';
  const text = isDos ? raw.replaceAll('\r\n', '\n') : raw;
  const file: TextFile = { text, encoding, bom, ends, isExact: false };
  const back = encode(text, file);
  return { ...file, isExact: back instanceof Uint8Array && isSame(back, bytes) };
}

/** The bytes of a text, written as the file was; or the first character that its encoding does not have. */
export function encode(text: string, { encoding, bom, ends }: Pick<TextFile, 'encoding' | 'bom' | 'ends'>): Uint8Array<ArrayBuffer> | { char: string } {
  const raw = ends === '\r\n' ? text.replaceAll('\n', '\r\n') : text;
  const mark = bom ? (BOMS.find(([one]) => one === encoding)?.[1] ?? []) : [];
  const body = encoding === 'utf-16le' || encoding === 'utf-16be' ? utf16(raw, encoding === 'utf-16le') : encodeText(raw, encoding);
  if (body === null) return { char: [...raw].find((char) => char >= '\x80' && encodeText(char, encoding as Plain) === null) ?? '?' };
  const out = new Uint8Array(mark.length + body.length);
  out.set(mark);
  out.set(body, mark.length);
  return out;
}

function utf16(text: string, isLittle: boolean): Uint8Array {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let at = 0; at < text.length; at++) view.setUint16(at * 2, text.charCodeAt(at), isLittle);
  return new Uint8Array(view.buffer);
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** Whether bytes look like a program or an image rather than text. */
export function looksBinary(bytes: Uint8Array): boolean {
  return bomOf(bytes) === null && bytes.subarray(0, 8192).includes(0);
}
