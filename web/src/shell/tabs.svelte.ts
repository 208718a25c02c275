// The terminals that are open here. They are remembered for this tab of the browser, so that a reload goes on with the same ones.

import type { View } from '../lib/link/channel';
import { byteString, type Name } from '../lib/bytes';

/** One open terminal. */
export interface Tab {
  /** Differs from that of every other, for as long as the page is open. */
  key: number;
  /** The session; null until a new one has been started. */
  session: string | null;
  /** The request that starts it: asking again with the same id never starts a second one. */
  run: (Record<string, unknown> & { id: string }) | null;
  view: View;
  /** The program in one line, null for a login shell; the title that it gave itself. */
  program: string | null;
  title: string;
  isTerminal: boolean;
  isOver: boolean;
  /** It rang, and nobody has looked since. */
  rang: boolean;
  typing: number;
  watching: number;
}

const STORE = 'tow-tabs';
/** How long a shell that was started here outlives its last viewer. */
const LEASE_MS = 24 * 3600 * 1000;
let last = 0;

export const tabs: { all: Tab[]; active: number | null } = $state({ all: [], active: null });

/** Opens a new login shell. */
export function openShell(cwd: Name | null): void {
  const id = randomId();
  const run = {
    id,
    program: 'login',
    lease: { ms: LEASE_MS },
    env: [['TERM', 'xterm-256color'], ['COLORTERM', 'truecolor']],
    ...(cwd !== null && { cwd: byteString(cwd) }),
  };
  add({ session: null, run, view: 'type', program: null, title: '', isTerminal: true });
}

/** Opens a session that is there, or brings its tab to the front. */
export function openSession(session: string, view: View, program: string | null, isTerminal: boolean): void {
  const open = tabs.all.find((tab) => tab.session === session && (tab.view === view || (!tab.isOver && view !== 'log')));
  if (open && open.view === view) tabs.active = open.key;
  else {
    // Two views of one session in one page would only be in each other's way.
    if (open) closeTab(open.key);
    add({ session, run: null, view, program, title: '', isTerminal });
  }
  remember();
}

export function closeTab(key: number): void {
  const index = tabs.all.findIndex((tab) => tab.key === key);
  if (index < 0) return;
  tabs.all.splice(index, 1);
  if (tabs.active === key) tabs.active = (tabs.all[index] ?? tabs.all[index - 1])?.key ?? null;
  remember();
}

/** Keeps what is open for a reload. */
export function remember(): void {
  const all = tabs.all.filter((tab) => !tab.isOver).map(({ session, run, view, program, title, isTerminal }) => ({ session, run: session === null ? run : null, view, program, title, isTerminal }));
  const active = tabs.all.filter((tab) => !tab.isOver).findIndex((tab) => tab.key === tabs.active);
  try {
    sessionStorage.setItem(STORE, JSON.stringify({ all, active }));
  } catch {
    // Then a reload starts without terminals; the list has them.
  }
}

/** Opens what was open before the reload. */
export function restore(): void {
  if (tabs.all.length > 0) return;
  try {
    const kept = JSON.parse(sessionStorage.getItem(STORE) ?? '{"all":[],"active":-1}') as { all: Kept[]; active: number };
    for (const one of kept.all) add(one);
    tabs.active = (tabs.all[kept.active] ?? tabs.all[0])?.key ?? null;
  } catch {
    tabs.all = [];
  }
}

type Kept = Pick<Tab, 'session' | 'run' | 'view' | 'program' | 'title' | 'isTerminal'>;

function add(kept: Kept): void {
  const key = ++last;
  tabs.all.push({ ...kept, key, isOver: false, rang: false, typing: 0, watching: 0 });
  tabs.active = key;
  remember();
}

/** A name that nobody else has. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
