// The question that is asked where a name is taken. One at a time; `Conflict.svelte` draws it.

import type { Name } from '../lib/bytes';
import type { Choice } from '../lib/upload';

export interface Answer {
  choice: Choice;
  /** Whether it holds for all that follow. */
  all: boolean;
}

export interface Taken {
  path: Name;
  /** What is to be put there. */
  size: number | null;
  /** Milliseconds since 1970. */
  time: number | null;
  /** Whether more may follow. */
  many: boolean;
}

/** What is asked now. */
export const taken: { now: (Taken & { answer: (answer: Answer) => void }) | null } = $state({ now: null });
let last: Promise<unknown> = Promise.resolve();

/** Asks what to do; questions wait for each other. */
export function askTaken(question: Taken): Promise<Answer> {
  const answer = last.then(
    () =>
      new Promise<Answer>((resolve) => {
        const give = (given: Answer): void => {
          taken.now = null;
          resolve(given);
        };
        taken.now = { ...question, answer: give };
      }),
  );
  last = answer;
  return answer;
}
