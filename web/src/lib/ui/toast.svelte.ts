// Short notices in a corner. Errors stay until they are dismissed, others for six seconds.

import { errorWords } from '../errors';

export interface Toast {
  id: number;
  kind: 'info' | 'ok' | 'error';
  text: string;
  /** What may be done about it. */
  action: { label: string; run: () => void } | undefined;
}

/** What is shown now; `Toasts.svelte` draws it. */
export const toasts: Toast[] = $state([]);
let last = 0;

/** Shows a notice; returns how to take it away. */
export function toast(text: string, kind: Toast['kind'] = 'info', action?: Toast['action']): () => void {
  const id = ++last;
  if (toasts.length >= 5) toasts.shift();
  toasts.push({ id, kind, text, action });
  const dismiss = () => dismissToast(id);
  if (kind !== 'error') setTimeout(dismiss, 6000);
  return dismiss;
}

/** Shows what was thrown, in words. */
export function toastError(error: unknown): void {
  toast(errorWords(error), 'error');
}

export function dismissToast(id: number): void {
  const index = toasts.findIndex((one) => one.id === id);
  if (index >= 0) toasts.splice(index, 1);
}
