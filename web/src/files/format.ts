// Numbers for people: sizes, times, rates, modes.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A size in bytes with three digits at most, `1.24 MiB`. */
export function size(bytes: number): string {
  if (!Number.isFinite(bytes) || bytes < 0) return '';
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0) return `${value} B`;
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** Bytes per second. */
export const rate = (bytesPerSec: number): string => `${size(Math.round(bytesPerSec))}/s`;

/** Seconds as `1:05` or `2:03:09`; empty where nothing is known. */
export function duration(secs: number): string {
  if (!Number.isFinite(secs) || secs < 0) return '';
  const whole = Math.ceil(secs);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number): string => String(n).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A time in milliseconds since 1970, in this browser's zone: `2026-11-23 09:05`; the same width for all years of four digits. */
export function time(ms: number, seconds = false): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return '';
  const two = (n: number): string => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}${seconds ? `:${two(date.getSeconds())}` : ''}`;
}

const KIND_LETTERS: Record<string, string> = { dir: 'd', link: 'l', special: '?', file: '-' };

/** A mode as `ls -l` shows it, `drwxr-xr-x`. */
export function mode(bits: number, kind: string): string {
  let out = KIND_LETTERS[kind] ?? '?';
  for (let shift = 6; shift >= 0; shift -= 3) {
    const special = (bits >> (9 + shift / 3)) & 1;
    const execute = (bits >> shift) & 1;
    out += (bits >> shift) & 4 ? 'r' : '-';
    out += (bits >> shift) & 2 ? 'w' : '-';
    const letter = shift === 0 ? 't' : 's';
    out += special ? (execute ? letter : letter.toUpperCase()) : execute ? 'x' : '-';
  }
  return out;
}

/** A mode as four octal digits. */
export const octal = (bits: number): string => (bits & 0o7777).toString(8).padStart(4, '0');

/** Reads octal digits; null where they are none or too many. */
export const parseOctal = (text: string): number | null => (/^[0-7]{1,4}$/.test(text.trim()) ? Number.parseInt(text.trim(), 8) : null);
