// The one queue of uploads of this page. It lives as long as the page, whatever is shown.

import { baseName, join, parent } from '../lib/bytes';
import { openStore } from '../lib/upload-store';
import { tusTransport } from '../lib/upload-tus';
import { UploadQueue } from '../lib/upload';
import { askTaken } from './conflict.svelte';
import { numbered } from './names';

export const uploads: UploadQueue = new UploadQueue({
  transport: tusTransport,
  store: openStore(),
  ask: ({ path, size, mtime }) => askTaken({ path, size, time: mtime, many: uploads.items.length > 1 }),
  beside: (path) => join(parent(path), numbered(baseName(path))),
});

addEventListener('online', () => uploads.handleOnline());
addEventListener('beforeunload', (event) => {
  if (uploads.isBusy) event.preventDefault();
});
void uploads.restore();
