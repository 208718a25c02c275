// Who is signed in.

import { ApiError, currentToken, keepToken, onSignedOut, request, requestJson, type Me } from '../lib/api';
import { errorWords } from '../lib/errors';

type Account =
  | { is: 'asking' }
  | { is: 'out'; why: string | null }
  /** Nobody answers: it is tried again. */
  | { is: 'unreachable'; why: string }
  | { is: 'in'; me: Me };

export const account: { now: Account } = $state({ now: { is: 'asking' } });

onSignedOut(() => {
  if (account.now.is === 'in') {
    keepToken(null);
    account.now = { is: 'out', why: null };
  }
});

/** Finds out who is signed in, with the secret from the address where there was one. */
export async function begin(secret: string | null): Promise<void> {
  if (secret !== null) return signIn(secret);
  try {
    const me = await requestJson<Me>('GET', '/me');
    welcome(me);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) account.now = { is: 'out', why: forget(error) };
    else account.now = { is: 'unreachable', why: errorWords(error) };
  }
}

/** Signs in with a secret; what is wrong with it is said on the page. */
export async function signIn(secret: string): Promise<void> {
  account.now = { is: 'asking' };
  try {
    const answer = await requestJson<{ token: string; me: Me }>('POST', '/signin', { json: { secret, name: browserName() } });
    keepToken(answer.token);
    welcome(answer.me);
  } catch (error) {
    // A link that was used stays in no browser's way: whoever was signed in still is.
    if (currentToken() !== null && error instanceof ApiError && error.status !== 0) return begin(null);
    account.now = { is: 'out', why: errorWords(error) };
  }
}

/** Ends this browser's access, on the machine too. */
export async function signOut(): Promise<void> {
  await request('POST', '/signout');
  keepToken(null);
  sessionStorage.clear();
  account.now = { is: 'out', why: null };
}

/** Asks again who is signed in: a link failed several times. */
export async function check(): Promise<void> {
  // A 401 is handled by whoever listens for it, and everything else is no news.
  await request('GET', '/me').catch(() => {});
}

function welcome(me: Me): void {
  if (me.token) keepToken(me.token);
  account.now = { is: 'in', me };
}

/** A browser that was signed in is told why it no longer is. */
function forget(error: ApiError): string | null {
  if (currentToken() === null) return null;
  keepToken(null);
  return errorWords(error);
}

/** What `tow keys` will call this browser. */
export function browserName(agent = navigator.userAgent): string {
  const browser = /Edg\//.test(agent) ? 'Edge' : /OPR\//.test(agent) ? 'Opera' : /Firefox\//.test(agent) ? 'Firefox' : /Chrome\//.test(agent) ? 'Chrome' : /Safari\//.test(agent) ? 'Safari' : 'Browser';
  const system = /Android/.test(agent) ? 'Android' : /iPhone/.test(agent) ? 'iPhone' : /iPad/.test(agent) ? 'iPad' : /Windows/.test(agent) ? 'Windows' : /Mac OS X/.test(agent) ? 'macOS' : /Linux/.test(agent) ? 'Linux' : '';
  return system === '' ? browser : `${browser} on ${system}`;
}
