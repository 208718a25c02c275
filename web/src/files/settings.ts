// What the file manager remembers in this browser.

/** A value that was kept; `fallback` where there is none. */
export function kept<T>(key: string, fallback: T): T {
  try {
    const text = localStorage.getItem(`tow-files-${key}`);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

/** Keeps a value over a reload. */
export function keep(key: string, value: unknown): void {
  try {
    localStorage.setItem(`tow-files-${key}`, JSON.stringify(value));
  } catch {
    // Where storage is switched off, it lasts as long as the page.
  }
}
