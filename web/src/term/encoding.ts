// Terminals that do not speak UTF-8. The browser decodes every encoding and encodes none: so what is typed is encoded by a table that is
// made by decoding every sequence there is.

/** Encodings that can be chosen: labels of TextDecoder, by region. */
export const ENCODINGS = [
  'utf-8', 'gbk', 'gb18030', 'big5', 'shift_jis', 'euc-jp', 'euc-kr', 'iso-8859-2', 'iso-8859-5', 'iso-8859-7', 'iso-8859-8', 'iso-8859-15',
  'windows-1251', 'windows-1252', 'koi8-r', 'koi8-u',
] as const;

export type Encoding = (typeof ENCODINGS)[number];

/** A name for the menu. */
export function encodingName(encoding: Encoding): string {
  return encoding.toUpperCase().replace('WINDOWS', 'Windows').replace('SHIFT_JIS', 'Shift_JIS').replace('BIG5', 'Big5');
}

const tables = new Map<Encoding, Map<string, number[]>>();
const utf8 = new TextEncoder();

/** The bytes of a text; null where the encoding does not have one of its characters. */
export function encodeText(text: string, encoding: Encoding): Uint8Array | null {
  // All of them have ASCII as it is.
  if (encoding === 'utf-8' || /^[\0-\x7f]*$/.test(text)) return utf8.encode(text);
  const table = tables.get(encoding) ?? makeTable(encoding);
  tables.set(encoding, table);
  const out: number[] = [];
  for (const char of text) {
    const bytes = char < '\x80' ? [char.charCodeAt(0)] : (table.get(char) ?? (encoding === 'gb18030' ? beyondBmp(char) : undefined));
    if (!bytes) return null;
    for (const byte of bytes) out.push(byte);
  }
  return Uint8Array.from(out);
}

function makeTable(encoding: Encoding): Map<string, number[]> {
  const decoder = new TextDecoder(encoding, { ignoreBOM: true });
  const table = new Map<string, number[]>([['\n', [0x0a]]]);
  const single = range(0x80, 0xff).map((byte) => [byte]);
  enter(decoder, table, single);
  if (table.size > 100) return table;
  const leads = range(0x81, 0xfe);
  for (const lead of leads) enter(decoder, table, range(0x30, 0xfe).map((trail) => [lead, trail]));
  if (encoding === 'euc-jp') for (const row of range(0xa1, 0xfe)) enter(decoder, table, range(0xa1, 0xfe).map((cell) => [0x8f, row, cell]));
  // The basic plane of GB 18030: all that count up from 0x81308130.
  if (encoding === 'gb18030') enter(decoder, table, range(0, 39_419).map(fourBytes));
  return table;
}

/** Decodes all of them at once, a line each. The first of several sequences for a character is the one that other encoders give. */
function enter(decoder: TextDecoder, table: Map<string, number[]>, sequences: number[][]): void {
  const lines = decoder.decode(Uint8Array.from(sequences.flatMap((bytes) => [...bytes, 0x0a]))).split('\n');
  sequences.forEach((bytes, index) => {
    const char = lines[index] ?? '';
    if ([...char].length === 1 && char !== '\ufffd' && !table.has(char)) table.set(char, bytes);
  });
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function beyondBmp(char: string): number[] | undefined {
  const code = char.codePointAt(0) ?? 0;
  return code < 0x10000 ? undefined : fourBytes(189_000 + code - 0x10000);
}

function fourBytes(linear: number): number[] {
  return [0x81 + Math.floor(linear / 12_600), 0x30 + (Math.floor(linear / 1260) % 10), 0x81 + (Math.floor(linear / 10) % 126), 0x30 + (linear % 10)];
}
