// What is open above the list: a preview or the editor. It is an entry in the browser's history, so that Back closes it, as one expects on a phone.

import { baseName, display, type Name } from '../lib/bytes';

export interface View {
  kind: 'preview' | 'edit';
  path: Name;
  size: number;
}

const MARK = 'tow-view';
const isMarked = (): boolean => (history.state as { [MARK]?: boolean } | null)?.[MARK] === true;

export class Views {
  now: View | null = $state(null);
  /** Whether the editor has changes that would be lost. */
  dirty = $state(false);

  open(view: View): void {
    if (!isMarked()) history.pushState({ [MARK]: true }, '');
    this.now = view;
  }

  /** Shows another in its place. */
  replace(view: View): void {
    this.now = view;
  }

  close(): void {
    if (isMarked()) history.back();
    else this.now = null;
  }

  /** Follows the browser's Back, and asks before changes are lost. Returns how to stop. */
  follow(ask: (name: string) => Promise<boolean>): () => void {
    const handleBack = async (): Promise<void> => {
      if (this.now === null || isMarked()) return;
      if (!this.dirty) {
        this.now = null;
        return;
      }
      history.pushState({ [MARK]: true }, '');
      if (!(await ask(display(baseName(this.now.path))))) return;
      this.dirty = false;
      history.back();
    };
    const handle = (): void => void handleBack();
    const handleLeave = (event: BeforeUnloadEvent): void => {
      if (this.dirty) event.preventDefault();
    };
    // A page that was loaded anew with a view open has nothing to show for it.
    if (this.now === null && isMarked()) history.replaceState(null, '');
    addEventListener('popstate', handle);
    addEventListener('beforeunload', handleLeave);
    return () => {
      removeEventListener('popstate', handle);
      removeEventListener('beforeunload', handleLeave);
    };
  }
}
