// The API of the node (docs/HTTP.md), typed. Every request carries the token of the page; every refusal becomes an ApiError.

import { nameOf, pathToUrl, type ByteString, type Name } from './bytes';

export { byteString, display, nameOf, type ByteString, type Name } from './bytes';

/** What a visitor is confined to; null where nothing but the grant confines. */
export type Share = { session: string } | { drop: true } | null;

/** Who the visitor is (HTTP 2.1). */
export interface Me {
  machine: string;
  name: string;
  rights: Right[];
  /** Path on the machine that is `/` in every URL. */
  root: ByteString;
  /** Where the file manager opens: a path below `root`. */
  start: ByteString;
  agent: string;
  /** Seconds since 1970; null where the key has no end. */
  expires: number | null;
  share: Share;
  token: string;
}

export type Right = 'run' | 'read' | 'write' | 'forward' | 'admin' | 'watch';

/** A refusal of the node (PROTOCOL 6), or `Offline` (code 0) where no answer came. */
export class ApiError extends Error {
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Number of the refusal; 0 where the answer had none. */
  readonly code: number;
  /** The file or program that it is about, where there is one. */
  readonly path: Name | null;
  /** `Retry-After`, in seconds. */
  readonly retryAfter: number | null;

  constructor(status: number, refusal: { code?: number; name?: string; message?: string; path?: ByteString }, retryAfter: number | null = null) {
    super(refusal.message ?? `HTTP ${status}`);
    this.name = refusal.name ?? (status === 0 ? 'Offline' : `Http${status}`);
    this.status = status;
    this.code = refusal.code ?? 0;
    this.path = refusal.path === undefined ? null : nameOf(refusal.path);
    this.retryAfter = retryAfter;
  }
}

/** What a request may have beside method and path. */
export interface RequestOptions {
  query?: Record<string, string | number | true | undefined> | undefined;
  /** Becomes the body as JSON. */
  json?: unknown;
  body?: BodyInit | null | undefined;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

const STORE = 'tow-token';
let token: string | null = stored();
const signedOut = new Set<() => void>();

/** The header with which a request proves that this page made it: for XMLHttpRequest and tus. */
export function tokenHeader(): Record<string, string> {
  return token === null ? {} : { 'X-Tow-Token': token };
}

/** The token, which is the first message on a WebSocket. */
export function currentToken(): string | null {
  return token;
}

/** Keeps a token, also over a reload; null forgets it. */
export function keepToken(next: string | null): void {
  token = next;
  try {
    if (next === null) localStorage.removeItem(STORE);
    else localStorage.setItem(STORE, next);
  } catch {
    // Where storage is switched off, the sign-in lasts as long as the page.
  }
}

/** Calls `handle` whenever an answer says that nobody is signed in. Returns how to stop that. */
export function onSignedOut(handle: () => void): () => void {
  signedOut.add(handle);
  return () => signedOut.delete(handle);
}

/** The URL of a request below `/api/v1`, or of one that starts with `/tus` or `/dav`. */
export function apiUrl(path: string, query?: RequestOptions['query']): string {
  const parts = Object.entries(query ?? {}).flatMap(([key, value]) =>
    value === undefined ? [] : [value === true ? key : `${key}=${encodeURIComponent(value)}`],
  );
  const base = /^\/(tus|dav)\//.test(path) ? path : `/api/v1${path}`;
  return parts.length === 0 ? base : `${base}?${parts.join('&')}`;
}

/** The URL of a file or directory. */
export function fileUrl(path: Name, query?: RequestOptions['query']): string {
  return apiUrl(`/files${pathToUrl(path)}`, query);
}

/** Asks, and returns the answer of status 200 to 299; throws an ApiError for every other, and where no answer comes. An abort is thrown as it is. */
export async function request(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
  return send(method, apiUrl(path, options.query), options);
}

/** Like `request`, of a file or directory. */
export async function fileRequest(method: string, path: Name, options: RequestOptions = {}): Promise<Response> {
  return send(method, fileUrl(path, options.query), options);
}

/** Asks, and returns the JSON of the answer. */
export async function requestJson<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  return (await (await request(method, path, options)).json()) as T;
}

async function send(method: string, url: string, options: RequestOptions): Promise<Response> {
  const headers: Record<string, string> = { ...tokenHeader(), ...options.headers };
  let body = options.body ?? null;
  if (options.json !== undefined) {
    headers['Content-Type'] = 'application/json';
    body = JSON.stringify(options.json);
  }
  let answer: Response;
  try {
    answer = await fetch(url, { method, headers, body, signal: options.signal ?? null, credentials: 'same-origin', redirect: 'error' });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, {});
  }
  if (answer.ok) return answer;
  const failure = await errorOf(answer);
  if (answer.status === 401 && !path401(url)) for (const handle of signedOut) handle();
  throw failure;
}

/** A refusal in place of a sign-in says nothing about the sign-in there was. */
function path401(url: string): boolean {
  return url.startsWith('/api/v1/signin');
}

/** The error that an answer of another status stands for. */
export async function errorOf(answer: Response): Promise<ApiError> {
  const retry = Number(answer.headers.get('Retry-After') ?? NaN);
  let refusal = {};
  try {
    const json: unknown = await answer.json();
    if (typeof json === 'object' && json !== null && 'error' in json && typeof json.error === 'object') refusal = json.error ?? {};
  } catch {
    // An answer without a refusal, such as one of a proxy in between.
  }
  return new ApiError(answer.status, refusal, Number.isFinite(retry) ? retry : null);
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORE);
  } catch {
    return null;
  }
}
