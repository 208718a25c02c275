// Names and paths. On the machine they are bytes; JSON carries them as a string or, where they are no UTF-8, as base64 (PROTOCOL 4.2);
// a URL as percent-encoded bytes. Within the page a name is a plain string in which a byte that is no UTF-8 stands as one lone
// surrogate, U+DC80 to U+DCFF: so names can be compared, joined and used as keys, and no byte is lost.

/** A byte string as JSON carries it. */
export type ByteString = string | { b64: string };

/** A name or path within the page: text, with a lone surrogate for each byte that is no UTF-8. */
export type Name = string;

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The name that a byte string of the API stands for. */
export function nameOf(text: ByteString): Name {
  return typeof text === 'string' ? text : fromBytes(fromBase64(text.b64));
}

/** The form in which the API takes a name. */
export function byteString(name: Name): ByteString {
  if (name.isWellFormed()) return name;
  const bytes = toBytes(name);
  try {
    return strict.decode(bytes);
  } catch {
    return { b64: toBase64(bytes) };
  }
}

/** The bytes of a name. */
export function toBytes(name: Name): Uint8Array<ArrayBuffer> {
  if (name.isWellFormed()) return encoder.encode(name);
  const out: number[] = [];
  for (const char of name) {
    const code = char.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) out.push(code - 0xdc00);
    else out.push(...encoder.encode(char));
  }
  return Uint8Array.from(out);
}

/** The name that these bytes are. */
export function fromBytes(bytes: Uint8Array): Name {
  try {
    return strict.decode(bytes);
  } catch {
    return fromBadBytes(bytes);
  }
}

function fromBadBytes(bytes: Uint8Array): Name {
  let name = '';
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at] ?? 0;
    const len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      name += strict.decode(bytes.subarray(at, at + len));
      at += len;
    } catch {
      name += String.fromCharCode(0xdc00 + lead);
      at += 1;
    }
  }
  return name;
}

/** A path as the part of a URL behind `/api/v1/files`: each component percent-encoded, byte by byte. */
export function pathToUrl(path: Name): string {
  let url = '';
  for (const byte of toBytes(path)) {
    const char = String.fromCharCode(byte);
    url += /[A-Za-z0-9\-_~/]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  // A dot would be harmless within a name, and "." and ".." would be resolved by the browser.
  return url;
}

/** The path in a part of a URL, the other way round. Whatever is no escape stands for itself. */
export function urlToPath(url: string): Name {
  const out: number[] = [];
  for (let at = 0; at < url.length; ) {
    const hex = url.slice(at + 1, at + 3);
    if (url[at] === '%' && /^[0-9A-Fa-f]{2}$/.test(hex)) {
      out.push(parseInt(hex, 16));
      at += 3;
    } else {
      const char = String.fromCodePoint(url.codePointAt(at) ?? 0);
      out.push(...encoder.encode(char));
      at += char.length;
    }
  }
  return fromBytes(Uint8Array.from(out));
}

/** The path of something in a directory. */
export function join(dir: Name, name: Name): Name {
  return dir.endsWith('/') ? dir + name : `${dir}/${name}`;
}

/** The last component of a path; `/` of the root. */
export function baseName(path: Name): Name {
  return path.replace(/\/+$/, '').split('/').pop() || '/';
}

/** The directory that a path is in; `/` of the root. */
export function parent(path: Name): Name {
  const cut = path.replace(/\/+$/, '').lastIndexOf('/');
  return cut <= 0 ? '/' : path.slice(0, cut);
}

/**
 * A name as it may be shown. What has no shape, turns the direction of writing or is no text is written as an escape, so that no two
 * names look the same and none pretends to be another.
 */
export function display(name: Name): string {
  let shown = '';
  for (const char of name) {
    const code = char.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) shown += `\\x${(code - 0xdc00).toString(16)}`;
    else if (char === '\n') shown += '\\n';
    else if (char === '\t') shown += '\\t';
    else if (HIDDEN.test(char)) shown += `\\u{${code.toString(16)}}`;
    else shown += char;
  }
  return shown;
}

// Controls, format characters (zero width, bidi), surrogates, private use, unassigned, separators other than the blank, fillers, variation selectors.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u00a0\u2000-\u200a\u202f\u205f\u3000\u115f\u1160\u3164\uffa0\ufe00-\ufe0e\u{e0100}-\u{e01ef}]/u;

/** Base64 with its padding (RFC 4648, 4). */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/** The bytes of a base64 text; throws where it is none. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
