import { expect, test } from 'vitest';
import { encodeText, ENCODINGS } from './encoding';

test('what is typed is decoded to the same again, in every encoding', () => {
  const samples: Record<string, string> = {
    'utf-8': 'ä中😀', gbk: '中文，目录 ls', gb18030: '中文 ä €😀㐂', big5: '中文檔案', shift_jis: '日本語カナ ｱ', 'euc-jp': '日本語カナ ｱ 丂', 'euc-kr': '한국어', 'iso-8859-2': 'čšž',
    'iso-8859-5': 'Русский', 'iso-8859-7': 'Ελλ', 'iso-8859-8': 'שלום', 'iso-8859-15': '€ä', 'windows-1251': 'Русский', 'windows-1252': 'ä', 'koi8-r': 'Русский', 'koi8-u': 'Їжак',
  };
  for (const encoding of ENCODINGS) {
    const sample = `${samples[encoding]} \x1b[A\r~`;
    const bytes = encodeText(sample, encoding);
    expect(bytes, encoding).not.toBeNull();
    expect(new TextDecoder(encoding, { fatal: true }).decode(bytes ?? new Uint8Array())).toBe(sample);
  }
});

test('the bytes are those that programs expect', () => {
  expect([...(encodeText('中', 'gbk') ?? [])]).toEqual([0xd6, 0xd0]);
  expect([...(encodeText('日', 'shift_jis') ?? [])]).toEqual([0x93, 0xfa]);
  expect([...(encodeText('中', 'big5') ?? [])]).toEqual([0xa4, 0xa4]);
  expect([...(encodeText('Р', 'koi8-r') ?? [])]).toEqual([0xf2]);
});

test('a character that the encoding does not have is not replaced in silence', () => {
  expect(encodeText('😀', 'gbk')).toBeNull();
  expect(encodeText('中', 'koi8-r')).toBeNull();
});
