// Uploads TUS_FILE to TUS_PATH by tus-js-client. It remembers in TUS_STORE where the upload is, so that it goes on when it is run again.
// Every answer is a line of stdout: method, status, offset. The last line is `done`.

import { createReadStream } from 'node:fs';
import { Agent } from 'node:http';
import { createRequire } from 'node:module';

const ofPage = createRequire(new URL('../../../../web/package.json', import.meta.url));
const tus = ofPage('tus-js-client');
const { TUS_ENDPOINT, TUS_PASSWORD, TUS_FILE, TUS_PATH, TUS_STORE, TUS_CHUNK_LEN } = process.env;

/** While the node is down, it is asked every 0.1 s for a minute. */
const RETRY_DELAYS_MS = Array.from({ length: 600 }, () => 100);

const upload = new tus.Upload(createReadStream(TUS_FILE), {
  endpoint: TUS_ENDPOINT,
  headers: { Authorization: `Bearer ${TUS_PASSWORD}` },
  metadata: { path: TUS_PATH },
  chunkSize: Number(TUS_CHUNK_LEN),
  retryDelays: RETRY_DELAYS_MS,
  urlStorage: new tus.FileUrlStorage(TUS_STORE),
  // All requests on one connection: who stops it stops the upload.
  httpStack: new tus.DefaultHttpStack({ agent: new Agent({ keepAlive: true, maxSockets: 1 }) }),
  onUploadUrlAvailable: () => console.log(`at ${new URL(upload.url).pathname}`),
  onAfterResponse: (request, response) => console.log(`${request.getMethod()} ${response.getStatus()} ${response.getHeader('Upload-Offset') ?? '-'}`),
  onSuccess: () => console.log('done'),
  onError: (error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
});

const [previous] = await upload.findPreviousUploads();
if (previous !== undefined) upload.resumeFromPreviousUpload(previous);
upload.start();
