// The requests of the file manager (docs/HTTP.md 3, 6, 9), typed.

import { type ByteString, byteString, fileRequest, fileUrl, type Name, request, requestJson, type Share } from '../lib/api';
import type { Kind } from './listing';

/** What is known of a file (PROTOCOL 7.6). Times are seconds and nanoseconds. */
export interface Known {
  /** The real path on the machine. */
  path: ByteString;
  kind: Kind;
  size: number;
  mode: number;
  uid: number;
  gid: number;
  links: number;
  mtime: [number, number];
  ctime: [number, number];
  atime: [number, number];
  target?: ByteString;
  etag?: string;
}

/** What a request on many files did; `failures` are the first of those that failed. */
export interface Outcome {
  failed: number;
  failures: { path: ByteString; why: { code: number; message?: string } }[];
}

export interface SharedLink {
  id: string;
  link?: string;
  /** Seconds since 1970; null without an end. */
  expires: number | null;
  path?: ByteString;
  may?: string[];
  name?: string;
}

/** The body of a directory's listing, unread. */
export async function list(path: Name, signal: AbortSignal): Promise<ArrayBuffer> {
  const answer = await fileRequest('GET', path, { signal });
  return answer.arrayBuffer();
}

/** What is known of a path; `follow`: of what a link leads to. */
export async function stat(path: Name, follow: boolean): Promise<Known> {
  const answer = await fileRequest('GET', path, { query: { stat: true, ...(follow ? { follow: true } : {}) } });
  return (await answer.json()) as Known;
}

/** Whether something has this name. */
export async function exists(path: Name): Promise<boolean> {
  try {
    await stat(path, false);
    return true;
  } catch (error) {
    if (error instanceof Error && error.name === 'NotFound') return false;
    throw error;
  }
}

export interface Content {
  bytes: Uint8Array<ArrayBuffer>;
  etag: string | null;
  /** The whole size of the file, where only its start was read. */
  size: number;
}

/** The first `max` bytes of a file. */
export async function read(path: Name, max: number, signal?: AbortSignal): Promise<Content> {
  const answer = await fileRequest('GET', path, { headers: { Range: `bytes=0-${max - 1}` }, signal }).catch((error: unknown) => {
    // An empty file has no range.
    if (error instanceof Error && 'status' in error && error.status === 416) return fileRequest('GET', path, { signal });
    throw error;
  });
  const whole = /\/(\d+)$/.exec(answer.headers.get('Content-Range') ?? '');
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return { bytes, etag: answer.headers.get('ETag'), size: whole ? Number(whole[1]) : bytes.length };
}

/** Writes a file; `etag` is what must be there now, null that nothing may be, undefined that it is all the same. Answers the new tag. */
export async function write(path: Name, body: BodyInit, etag?: string | null): Promise<string | null> {
  const condition: Record<string, string> = etag === undefined ? {} : etag === null ? { 'If-None-Match': '*' } : { 'If-Match': etag };
  const headers = { 'Content-Type': 'application/octet-stream', ...condition };
  return (await fileRequest('PUT', path, { body, headers })).headers.get('ETag');
}

export async function makeDir(path: Name, parents = false): Promise<void> {
  await request('POST', '/mkdir', { json: { path: byteString(path), parents } });
}

export async function move(from: Name, to: Name, replace: boolean): Promise<void> {
  await request('POST', '/move', { json: { from: byteString(from), to: byteString(to), replace } });
}

export async function copy(from: Name, to: Name, replace: boolean): Promise<Outcome> {
  return requestJson('POST', '/copy', { json: { from: byteString(from), to: byteString(to), replace } });
}

export async function remove(path: Name): Promise<Outcome> {
  const answer = await fileRequest('DELETE', path, { query: { recursive: true } });
  return (await answer.json()) as Outcome;
}

export async function setMode(path: Name, mode: number): Promise<void> {
  await fileRequest('PATCH', path, { json: { mode } });
}

/** Where the content of a file is, to be shown by the browser or saved by it. */
export const contentUrl = (path: Name, use: 'inline' | 'download'): string => fileUrl(path, { [use]: true });

/** Where several files and directories are as one archive. */
export function archiveUrl(paths: Name[], format: 'zip' | 'tar'): string {
  // A path in a query is percent-encoded bytes, as one in a URL is.
  const named = paths.map((path) => `path=${fileUrl(path).slice('/api/v1/files'.length)}`);
  return `/api/v1/archive?${[...named, `format=${format}`].join('&')}`;
}

export async function shares(): Promise<SharedLink[]> {
  return (await requestJson<{ shares: SharedLink[] }>('GET', '/shares')).shares;
}

export async function share(path: Name, may: string[], forSecs: number): Promise<SharedLink> {
  return requestJson('POST', '/shares', { json: { path: byteString(path), may, for_secs: forSecs } });
}

export async function endShare(id: string): Promise<void> {
  await request('DELETE', `/shares/${encodeURIComponent(id)}`);
}

/** Whether a visitor may only put files here, and see nothing. */
export const isDropBox = (share: Share): boolean => share !== null && 'drop' in share && share.drop;
