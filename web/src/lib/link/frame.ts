// Frames (PROTOCOL 2): a prefix of 8 bytes, one little-endian word with the length below and the kind in the top 8 bits, and a payload.
// A message of the WebSocket holds exactly one.

/** Kinds that the page knows. */
export const Kind = { Head: 0, Data: 1, DataErr: 2, End: 3, Credit: 4, Ping: 5, Pong: 6 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export interface Frame {
  kind: Kind;
  payload: Uint8Array<ArrayBuffer>;
}

/** What came is no frame of the protocol: the link ends. */
export class BrokenLink extends Error {}

const PREFIX_LEN = 8;
const LIMITS: Record<Kind, number> = { 0: 1 << 20, 1: 1 << 20, 2: 1 << 20, 3: 1 << 16, 4: 4096, 5: 64, 6: 64 };
const SKIPPABLE_LEN_MAX = 1 << 20;

/** The message that carries this frame. */
export function encode(kind: Kind, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(PREFIX_LEN + payload.length);
  const prefix = new DataView(message.buffer);
  prefix.setUint32(0, payload.length, true);
  prefix.setUint8(7, kind);
  message.set(payload, PREFIX_LEN);
  return message;
}

/** A frame of JSON. */
export function encodeJson(kind: Kind, value: unknown): Uint8Array<ArrayBuffer> {
  return encode(kind, new TextEncoder().encode(JSON.stringify(value)));
}

/** The frame in this message; null for a kind that is to be skipped. Throws BrokenLink. */
export function decode(message: ArrayBuffer): Frame | null {
  if (message.byteLength < PREFIX_LEN) throw new BrokenLink('a message without a whole prefix');
  const prefix = new DataView(message);
  const kind = prefix.getUint8(7);
  const len = prefix.getUint32(0, true) + (prefix.getUint32(4, true) & 0xffffff) * 2 ** 32;
  const known = kind in LIMITS;
  if (!known && kind < 0x80) throw new BrokenLink(`a frame of kind ${kind}`);
  if (len > (known ? LIMITS[kind as Kind] : SKIPPABLE_LEN_MAX)) throw new BrokenLink('a frame over its limit');
  if (len !== message.byteLength - PREFIX_LEN) throw new BrokenLink('a message that is not one frame');
  return known ? { kind: kind as Kind, payload: new Uint8Array(message, PREFIX_LEN) } : null;
}

/** The JSON object in a payload. Throws BrokenLink. */
export function parse(payload: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new BrokenLink('a head that can’t be read');
}

/** A large integer (PROTOCOL 4.3): a number or a string of digits. Throws BrokenLink, also beyond 2^53, which no stream of a page reaches. */
export function large(value: unknown): number {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0) throw new BrokenLink('an integer that is none');
  return number;
}
