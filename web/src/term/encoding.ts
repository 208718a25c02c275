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
  if (encoding === 'utf-8') return utf8.encode(text);
  const table = tables.get(encoding) ?? makeTable(encoding);
  tables.set(encoding, table);
  const out: number[] = [];
  for (const char of text) {
    const bytes = table.get(char) ?? (encoding === 'gb18030' ? beyondBmp(char) : undefined);
    if (!bytes) return null;
    for (const byte of bytes) out.push(byte);
  }
  return Uint8Array.from(out);
}

function makeTable(encoding: Encoding): Map<string, number[]> {
  const decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
  const table = new Map<string, number[]>();
  const leads: number[] = [];
  const enter = (bytes: number[]): boolean => {
    try {
      const char = decoder.decode(Uint8Array.from(bytes));
      // The first of several sequences for a character is the one that other encoders give.
      if (!table.has(char)) table.set(char, bytes);
      return true;
    } catch {
      return false;
    }
  };
  for (let byte = 0; byte < 256; byte++) if (!enter([byte])) leads.push(byte);
  if (leads.every((lead) => lead < 0x80)) return table;
  for (const lead of leads) for (let trail = 0x21; trail < 0xff; trail++) enter([lead, trail]);
  if (encoding === 'euc-jp') for (let a = 0xa1; a < 0xff; a++) for (let b = 0xa1; b < 0xff; b++) enter([0x8f, a, b]);
  if (encoding === 'gb18030') enterFour(decoder, table);
  return table;
}

/** The four-byte sequences of GB 18030 for the basic plane: all that count up from 0x81308130. */
function enterFour(decoder: TextDecoder, table: Map<string, number[]>): void {
  for (let linear = 0; linear < 39_420; linear++) {
    const bytes = fourBytes(linear);
    try {
      const char = decoder.decode(Uint8Array.from(bytes));
      if (!table.has(char)) table.set(char, bytes);
    } catch {
      // One that is not assigned.
    }
  }
}

function beyondBmp(char: string): number[] | undefined {
  const code = char.codePointAt(0) ?? 0;
  return code < 0x10000 ? undefined : fourBytes(189_000 + code - 0x10000);
}

function fourBytes(linear: number): number[] {
  return [0x81 + Math.floor(linear / 12_600), 0x30 + (Math.floor(linear / 1260) % 10), 0x81 + (Math.floor(linear / 10) % 126), 0x30 + (linear % 10)];
}
