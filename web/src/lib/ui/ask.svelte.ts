// Questions that are answered before anything goes on: `if (await confirm({...}))`, `const name = await askText({...})`. `Asks.svelte` draws them.

export interface Question {
  title: string;
  text?: string;
  /** The word on the button that goes on. */
  action: string;
  danger?: boolean;
}

export interface TextQuestion extends Question {
  label: string;
  value?: string;
  /** How much of the value is selected at first, in characters; all by default. */
  select?: number;
  /** Says in words what is wrong with a value, or null. */
  check?: (value: string) => string | null;
}

export type Asked =
  | { kind: 'confirm'; question: Question; answer: (yes: boolean) => void }
  | { kind: 'text'; question: TextQuestion; answer: (value: string | null) => void };

/** What is asked now. */
export const asking: { now: Asked | null } = $state({ now: null });

/** Asks yes or no. */
export function confirm(question: Question): Promise<boolean> {
  dismiss();
  return new Promise((answer) => (asking.now = { kind: 'confirm', question, answer }));
}

/** Asks for a line of text; null where it was cancelled. */
export function askText(question: TextQuestion): Promise<string | null> {
  dismiss();
  return new Promise((answer) => (asking.now = { kind: 'text', question, answer }));
}

function dismiss(): void {
  const { now } = asking;
  if (now?.kind === 'confirm') now.answer(false);
  if (now?.kind === 'text') now.answer(null);
  asking.now = null;
}
