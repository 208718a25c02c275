// Sending one file by tus (docs/HTTP.md 7): the node is asked where it stands, the rest of the file is sent in one request that the browser
// reads from the disk as it goes, so that no content is held in memory.

import * as tus from 'tus-js-client';
import { ApiError, fileRequest, request, tokenHeader } from './api';
import { byteString, toBase64, toBytes } from './bytes';
import type { Ending, Report, Transport, Upload } from './upload';

/** Files up to this size go with the request that announces them. */
const WITH_CREATION_MAX = 1 << 20;
/** A link that says nothing for so long is taken for lost. */
const SILENCE_MS = 30_000;
/** When all is sent, the node still has to put it on its disk. */
const FLUSH_MS = 10 * 60_000;

/** The node that this page is from. */
export const tusTransport: Transport = {
  send,
  discard,
  makeDir: async (path) => void (await request('POST', '/mkdir', { json: { path: byteString(path), parents: true } })),
};

/** The request that was stopped may still be wound up at the node: until then it refuses, and is asked again. */
async function discard(url: string): Promise<void> {
  for (const secs of [0.5, 1, 2, 4, 8, 15, 30]) {
    try {
      await request('DELETE', url, { headers: { 'Tus-Resumable': '1.0.0' } });
      return;
    } catch (error) {
      if (!(error instanceof ApiError && (error.status === 0 || error.status === 423 || error.status === 503))) throw error;
    }
    await new Promise((done) => setTimeout(done, secs * 1000));
  }
}

function send(upload: Upload, file: File, report: Report): () => void {
  let watchdog: ReturnType<typeof setTimeout> | null = null;
  let isOver = false;
  const end = (ending: Ending): void => {
    if (watchdog !== null) clearTimeout(watchdog);
    report.ended(ending);
  };
  const watch = (ms: number): void => {
    if (watchdog !== null) clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      isOver = true;
      void client.abort();
      end({ kind: 'again', error: null });
    }, ms);
  };
  const client = new tus.Upload(file, {
    // One or the other: with both, a node that is busy when it is asked where it stands would be sent everything anew.
    endpoint: upload.url === null ? '/tus/' : null,
    uploadUrl: upload.url,
    // The queue decides when it is tried again, and remembers what was sent.
    retryDelays: null,
    storeFingerprintForResuming: false,
    uploadDataDuringCreation: file.size <= WITH_CREATION_MAX,
    onBeforeRequest: (req) => {
      for (const [name, value] of Object.entries(tokenHeader())) req.setHeader(name, value);
      // tus-js-client takes text for metadata; a path is bytes.
      if (req.getMethod() === 'POST') req.setHeader('Upload-Metadata', metadata(upload));
      watch(SILENCE_MS);
    },
    onProgress: (sent) => {
      watch(sent >= file.size ? FLUSH_MS : SILENCE_MS);
      // A request that is cut says first that all of it went: what is true is still true a moment later.
      setTimeout(() => !isOver && report.progress(sent));
    },
    onUploadUrlAvailable: () => {
      if (client.url !== null && file.size > WITH_CREATION_MAX) report.located(new URL(client.url, location.href).pathname);
    },
    onSuccess: () => end({ kind: 'done' }),
    onError: (error) => {
      isOver = true;
      if (watchdog !== null) clearTimeout(watchdog);
      void endingOf(error, file, upload).then(end);
    },
  });
  client.start();
  return () => {
    if (watchdog !== null) clearTimeout(watchdog);
    void client.abort();
  };
}

/** `Upload-Metadata`: keys and base64, from bytes. */
function metadata({ path, mtime, replace }: Upload): string {
  const secs = Math.floor(mtime / 1000);
  const nanos = String(Math.floor(mtime - secs * 1000) * 1_000_000).padStart(9, '0');
  const values = { path, mtime: `${secs}.${nanos}`, replace: String(replace) };
  return Object.entries(values).map(([key, value]) => `${key} ${toBase64(toBytes(value))}`).join(',');
}

/** What an error of tus-js-client means for the upload. */
async function endingOf(error: Error | tus.DetailedError, file: File, upload: Upload): Promise<Ending> {
  const answer = 'originalResponse' in error ? error.originalResponse : null;
  const refusal = refusalOf(answer?.getBody() ?? '');
  const status = answer?.getStatus() ?? 0;
  const failure = new ApiError(status, refusal);
  if (status === 401) return { kind: 'signedOut' };
  const isGone = (status === 404 || status === 410) && upload.url !== null;
  const isTaken = status === 409 && (refusal.name === 'Exists' || refusal.name === undefined) && upload.url === null;
  // An answer that was lost: what is in the way may be what was sent.
  if ((isGone || isTaken) && (upload.tries > 0 || isGone) && (await isThere(upload))) return { kind: 'done' };
  if (isGone) {
    upload.url = null;
    return { kind: 'again', error: failure };
  }
  if (isTaken || refusal.name === 'Exists') return { kind: 'exists' };
  // 423: a request that was cut is still being wound up; 409: the offset; 460: a checksum. The node is asked anew where it stands.
  const passes = status === 0 || status === 408 || status === 409 || status === 423 || status === 429 || status === 460 || status === 500 || (status > 500 && status < 507);
  if (!passes || isFinal(refusal.name)) return { kind: 'failed', error: failure };
  if (status === 0 && !(await isReadable(file))) return { kind: 'failed', error: new FileChanged() };
  const after = Number(answer?.getHeader('Retry-After') ?? Number.NaN);
  return { kind: 'again', error: failure, afterSecs: Number.isFinite(after) ? after : null };
}

/** Whether the node has just this file, by its size and time. */
async function isThere({ path, size, mtime }: Upload): Promise<boolean> {
  try {
    const answer = await fileRequest('GET', path, { query: { stat: true } });
    const known = (await answer.json()) as { kind: string; size: number; mtime: [number, number] };
    const ms = known.mtime[0] * 1000 + Math.floor(known.mtime[1] / 1e6);
    return known.kind === 'file' && known.size === size && ms === mtime;
  } catch {
    return false;
  }
}

/** The file was changed, moved or removed on this side while it was sent. */
export class FileChanged extends Error {
  override name = 'FileChanged';
}

const isFinal = (name: string | undefined): boolean => name !== undefined && ['NotADirectory', 'IsADirectory', 'Io', 'Internal', 'SpecialFile', 'LinkLoop'].includes(name);

async function isReadable(file: File): Promise<boolean> {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function refusalOf(body: string): { code?: number; name?: string; message?: string } {
  try {
    const json = JSON.parse(body) as { error?: { code?: number; name?: string; message?: string } };
    return json.error ?? {};
  } catch {
    return {};
  }
}
