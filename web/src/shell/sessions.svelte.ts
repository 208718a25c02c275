// The machine's sessions, as its list says every few seconds while the page is seen.

import { display, nameOf, request, requestJson, type ByteString } from '../lib/api';
import type { ExitRecord } from '../lib/link/channel';

/** A session of the list (PROTOCOL 7.5). */
export interface Session {
  id: string;
  owner: string;
  program: Program;
  terminal?: boolean;
  started: number;
  lease: 'attached' | 'detached' | { ms: number };
  typing?: number;
  watching?: number;
  stdout: number | string;
  stderr: number | string;
  exit?: ExitRecord;
  ended?: number;
}

export type Program = 'login' | { argv: ByteString[] } | { shell: ByteString };

class Sessions {
  all: Session[] = $state.raw([]);
  error: unknown = $state.raw(null);
}

export const sessions = new Sessions();

const PERIOD_MS = 3000;
let asked = 0;

/** Asks for the list now. */
export async function refresh(): Promise<void> {
  const number = ++asked;
  try {
    const answer = await requestJson<{ sessions: Session[] }>('GET', '/sessions');
    if (number !== asked) return;
    sessions.all = merged(answer.sessions);
    sessions.error = null;
  } catch (error) {
    if (number === asked) sessions.error = error;
  }
}

/** What has not changed stays the same object, so that a list of hundreds is not drawn anew every few seconds. */
function merged(fresh: Session[]): Session[] {
  const known = new Map(sessions.all.map((one) => [one.id, one]));
  const all = fresh.map((one) => {
    const old = known.get(one.id);
    return old && essence(old) === essence(one) ? old : one;
  });
  const isSame = all.length === sessions.all.length && all.every((one, index) => one === sessions.all[index]);
  return isSame ? sessions.all : all;
}

/** All but how much was written, which nobody is shown. */
function essence(one: Session): string {
  return JSON.stringify({ ...one, stdout: 0, stderr: Number(one.stderr) > 0 });
}

/** Asks every few seconds while the page is seen. Returns how to stop that. */
export function poll(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  const turn = async () => {
    clearTimeout(timer);
    if (document.visibilityState === 'visible') await refresh();
    if (!isOver && document.visibilityState === 'visible') timer = setTimeout(() => void turn(), PERIOD_MS);
  };
  const handleSeen = () => void turn();
  document.addEventListener('visibilitychange', handleSeen);
  void turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', handleSeen);
  };
}

export async function kill(id: string, signal: 'HUP' | 'TERM' | 'KILL'): Promise<void> {
  await request('POST', `/sessions/${encodeURIComponent(id)}/kill`, { json: { signal } });
  await refresh();
}

export async function remove(id: string): Promise<void> {
  await request('DELETE', `/sessions/${encodeURIComponent(id)}`);
  await refresh();
}

/** What is kept of the output, as a file. */
export async function log(id: string, stream: 1 | 2 = 1): Promise<Blob> {
  return (await request('GET', `/sessions/${encodeURIComponent(id)}/log`, { query: stream === 2 ? { stream } : {} })).blob();
}

/** A program in one line; null for a login shell. */
export function programLine(program: Program): string | null {
  if (program === 'login') return null;
  if ('shell' in program) return display(nameOf(program.shell));
  return program.argv.map((arg) => quoted(display(nameOf(arg)))).join(' ');
}

function quoted(arg: string): string {
  return /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`;
}
