// What this browser remembers about how the page looks.

import { MediaQuery } from 'svelte/reactivity';

export type Theme = 'auto' | 'light' | 'dark';

interface Settings {
  theme: Theme;
  /** Size of a terminal's letters, in pixels. */
  fontSize: number;
  /** The row of keys that a phone's keyboard lacks: null shows it where fingers are used. */
  keyBar: boolean | null;
  screenReader: boolean;
  sidebar: boolean;
}

const STORE = 'tow-settings';
const DEFAULTS: Settings = { theme: 'auto', fontSize: 14, keyBar: null, screenReader: false, sidebar: true };
const prefersDark = new MediaQuery('(prefers-color-scheme: dark)');
const coarse = new MediaQuery('(pointer: coarse)');

export const settings: Settings = $state(kept());

/** True where the page is dark, by choice or by the system's. */
export function isDark(): boolean {
  return settings.theme === 'auto' ? prefersDark.current : settings.theme === 'dark';
}

/** True where the page is used with fingers. */
export function isTouched(): boolean {
  return coarse.current;
}

/** Changes what is remembered. */
export function change(next: Partial<Settings>): void {
  Object.assign(settings, next);
  try {
    localStorage.setItem(STORE, JSON.stringify(settings));
  } catch {
    // It lasts as long as the page.
  }
  applyTheme();
}

/** Tells the style sheet which theme was chosen. */
export function applyTheme(): void {
  if (settings.theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = settings.theme;
}

function kept(): Settings {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) ?? '{}') as Partial<Settings>;
    const fontSize = Math.min(32, Math.max(8, Number(found.fontSize) || DEFAULTS.fontSize));
    return { ...DEFAULTS, ...found, fontSize };
  } catch {
    return { ...DEFAULTS };
  }
}
