// Secrets in the fragment of the address. A fragment is never sent to a server; wiping it keeps it out of the history, of what is
// copied from the address bar and of what other scripts could read later.

/** The secret of a ticket, a share or `tow open` in this link or fragment, as `POST /api/v1/signin` takes it; null where it holds none. */
export function secretOf(link: string): string | null {
  const fragment = link.slice(link.indexOf('#') + 1).trim();
  const ticket = /^tow1\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)$/.exec(fragment);
  const share = /^tows1\.([A-Za-z0-9_-]+)$/.exec(fragment);
  if (/^towo1\.[A-Za-z0-9_-]+$/.test(fragment)) return fragment;
  return ticket?.[1] ?? share?.[1] ?? null;
}

/** Takes the secret out of the address, if there is one. */
export function takeSecret(): string | null {
  const { hash, pathname, search } = location;
  if (!/^#tow[os]?1\./.test(hash)) return null;
  history.replaceState(null, '', pathname + search);
  return secretOf(hash);
}
