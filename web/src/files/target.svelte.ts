// Files that come in: dropped, or chosen in a picker, on their way into the queue of uploads.

import type { Name } from '../lib/bytes';
import { toastError, toast } from '../lib/ui/toast.svelte';
import { type Gathered, gatherDrop, gatherInput, pickFiles } from './drop';
import { t } from './strings';
import { uploads } from './uploads';

export class Target {
  /** Whether files are held over the page. */
  held = $state(false);
  /** The row of the directory that they are held over; -1 for the directory that is open. */
  row = $state(-1);
  /** How many files were found in what was dropped, while that is looked through; -1 otherwise. */
  reading = $state(-1);
  /** Pickers for browsers without handles, and for folders. */
  inputs: { files: HTMLInputElement | null; folder: HTMLInputElement | null } = { files: null, folder: null };
  #into: Name = '/';

  over(event: DragEvent, place: { row: number } | null): void {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    this.held = true;
    this.row = place?.row ?? -1;
  }

  leave(event: DragEvent): void {
    const to = event.relatedTarget;
    if (to instanceof Node && event.currentTarget instanceof Node && event.currentTarget.contains(to)) return;
    this.held = false;
    this.row = -1;
  }

  drop(event: DragEvent, place: { path: Name } | Name): void {
    this.held = false;
    this.row = -1;
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    const into = typeof place === 'string' ? place : place.path;
    void this.#take(gatherDrop(event.dataTransfer, into, (count) => (this.reading = count)));
  }

  async pickFiles(into: Name): Promise<void> {
    const picked = pickFiles(into);
    this.#into = into;
    const gathered = await picked;
    if (gathered === null) this.inputs.files?.click();
    else if (gathered.files.length > 0) await this.#take(Promise.resolve(gathered));
  }

  pickFolder(into: Name): void {
    this.#into = into;
    this.inputs.folder?.click();
  }

  /** Says where what an input is given goes; what is set without a picker goes there too. */
  aim(into: Name): void {
    this.#into = into;
  }

  chosen(input: HTMLInputElement): void {
    const gathered = gatherInput([...(input.files ?? [])], this.#into);
    input.value = '';
    void this.#take(Promise.resolve(gathered));
  }

  async #take(coming: Promise<Gathered>): Promise<void> {
    this.reading = 0;
    try {
      const { dirs, files } = await coming;
      if (dirs.length + files.length === 0) toast(t('nothingDropped'));
      else await uploads.add(dirs, files);
    } catch (error) {
      toastError(error);
    } finally {
      this.reading = -1;
    }
  }
}
