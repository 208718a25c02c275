// The page in two languages. Each part keeps its own dictionary beside it; the type of `dictionary` makes a key that is missing in one
// of the two languages an error of `npm run check`.

import { createSubscriber } from 'svelte/reactivity';

export type Locale = 'en' | 'zh';

const STORE = 'tow-locale';
let current: Locale = initial();
let changed: () => void = () => {};
const subscribe = createSubscriber((update) => {
  changed = update;
  return () => (changed = () => {});
});

/** The language of the page; what reads it in a component is drawn again when it changes. */
export function locale(): Locale {
  subscribe();
  return current;
}

/** Switches the language, and remembers it. */
export function setLocale(next: Locale): void {
  current = next;
  try {
    localStorage.setItem(STORE, next);
  } catch {
    // It lasts as long as the page.
  }
  changed();
}

/** What stands for `{name}` in a text. */
export type Values = Record<string, string | number>;

/** The texts of a part of the page. `const t = dictionary({ size: '{n} bytes' }, { size: '{n} 字节' })`, and `t('size', { n: 5 })`. */
export function dictionary<const Texts extends Record<string, string>>(
  en: Texts,
  zh: NoInfer<{ [Key in keyof Texts]: string }>,
): (key: keyof Texts, values?: Values) => string {
  const texts: Record<Locale, { [Key in keyof Texts]: string }> = { en, zh };
  return (key, values) => {
    const text = texts[locale()][key];
    return values === undefined ? text : text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
  };
}

/** A number of bytes, to be read: `1.5 MB`, in powers of 1000. */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  const power = n < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** power;
  return `${value.toLocaleString(tag(), { maximumFractionDigits: power === 0 || value >= 100 ? 0 : 1 })} ${units[power]}`;
}

/** A time in seconds since 1970: the time of day where it was today, else the date. */
export function when(seconds: number): string {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  const key = `${tag()}${isToday}`;
  let format = formats.get(key);
  if (!format) {
    const day: Intl.DateTimeFormatOptions = isToday ? {} : { year: 'numeric', month: 'short', day: 'numeric' };
    format = new Intl.DateTimeFormat(tag(), { ...day, hour: '2-digit', minute: '2-digit' });
    formats.set(key, format);
  }
  return format.format(date);
}

// To make one takes longer than to use it a hundred times.
const formats = new Map<string, Intl.DateTimeFormat>();

/** How long, in the largest unit that fits: `5 min`. */
export function duration(seconds: number): string {
  const [value, unit] =
    seconds < 60 ? [seconds, 'second'] : seconds < 3600 ? [seconds / 60, 'minute'] : seconds < 86400 ? [seconds / 3600, 'hour'] : [seconds / 86400, 'day'];
  return Math.floor(value as number).toLocaleString(tag(), { style: 'unit', unit: unit as string, unitDisplay: 'short' });
}

function tag(): string {
  return locale() === 'zh' ? 'zh-CN' : 'en';
}

function initial(): Locale {
  try {
    const kept = localStorage.getItem(STORE);
    if (kept === 'en' || kept === 'zh') return kept;
  } catch {
    // No storage: the browser's language it is.
  }
  return typeof navigator !== 'undefined' && /^zh\b/i.test(navigator.language) ? 'zh' : 'en';
}
