// Which icon stands for an entry.

import type { IconName } from '../lib/ui/icons';
import type { Kind } from './listing';
import { extension } from './names';
import { typeOf } from './types';

const ARCHIVES = new Set(['zip', 'tar', 'gz', 'tgz', 'bz2', 'xz', 'zst', '7z', 'rar', 'deb', 'rpm', 'jar', 'iso', 'img']);

export function iconOf(kind: Kind, name: string): IconName {
  if (kind === 'dir') return 'folder';
  if (kind === 'link') return 'link';
  if (kind === 'special') return 'disk';
  const ending = extension(name);
  if (ARCHIVES.has(ending)) return 'archive';
  const type = typeOf(name);
  if (type === 'image') return 'image';
  if (type === 'audio' || type === 'video') return 'play';
  return type === 'text' ? 'fileText' : 'file';
}
