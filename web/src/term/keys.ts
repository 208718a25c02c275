// What keys send that a phone's keyboard lacks, as xterm does it.

export interface Modifiers {
  ctrl: boolean;
  alt: boolean;
}

const ARROWS: Record<string, string> = { Up: 'A', Down: 'B', Right: 'C', Left: 'D', Home: 'H', End: 'F' };
const PAGES: Record<string, string> = { PgUp: '5', PgDn: '6' };

/** What a key of the bar sends. `application` is the terminal's mode of cursor keys. */
export function keyText(key: string, { ctrl, alt }: Modifiers, application: boolean): string {
  const modifier = 1 + (alt ? 2 : 0) + (ctrl ? 4 : 0);
  const arrow = ARROWS[key];
  if (arrow !== undefined) return modifier > 1 ? `\x1b[1;${modifier}${arrow}` : application ? `\x1bO${arrow}` : `\x1b[${arrow}`;
  const page = PAGES[key];
  if (page !== undefined) return modifier > 1 ? `\x1b[${page};${modifier}~` : `\x1b[${page}~`;
  const text = { Esc: '\x1b', Tab: '\t' }[key] ?? key;
  return modified(text, { ctrl, alt });
}

/** What was typed, with the modifiers that were tapped before. Only a single character has them. */
export function modified(text: string, { ctrl, alt }: Modifiers): string {
  if ([...text].length !== 1) return text;
  const typed = ctrl ? (controlOf(text) ?? text) : text;
  return alt ? `\x1b${typed}` : typed;
}

function controlOf(char: string): string | undefined {
  const upper = char.toUpperCase();
  if (/^[@-_]$/.test(upper)) return String.fromCharCode(upper.charCodeAt(0) & 0x1f);
  return { ' ': '\0', '?': '\x7f', '/': '\x1f', '-': '\x1f', '2': '\0', '3': '\x1b', '4': '\x1c', '5': '\x1d', '6': '\x1e', '7': '\x1f', '8': '\x7f', '|': '\x1c', '~': '\x1e' }[char];
}
