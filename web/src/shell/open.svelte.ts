// What one part of the page may ask of another.

import type { Name } from '../lib/bytes';

export type Place = 'terminal' | 'files' | 'sessions';

/** Which part is in front where only one has room. */
export const front: { place: Place } = $state({ place: 'terminal' });

let start: ((cwd: Name | null) => void) | null = null;

/** The terminals say how a new one is started. */
export function offerTerminals(open: (cwd: Name | null) => void): void {
  start = open;
}

/** Starts a shell in a directory, a path on the machine (not below the root of the grant); null where a login starts. */
export function openTerminal(cwd: Name | null = null): void {
  front.place = 'terminal';
  start?.(cwd);
}
