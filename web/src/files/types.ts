// What a file is, by its name: only to choose how it is shown. The node decides for itself what it lets a browser render.

import { extension } from './names';

export type FileType = 'image' | 'audio' | 'video' | 'pdf' | 'text' | 'other';

const BY_ENDING: Record<Exclude<FileType, 'other'>, string> = {
  image: 'png jpg jpeg jfif gif webp avif bmp ico apng',
  audio: 'mp3 ogg oga opus wav flac m4a aac',
  video: 'mp4 m4v webm ogv mov mkv',
  pdf: 'pdf',
  // SVG and HTML can hold programs: they are text here.
  text: `txt text log md markdown rst adoc org tex csv tsv json jsonl ndjson json5 yaml yml toml ini cfg conf properties env lock xml xsl svg html htm xhtml css scss sass less
    js mjs cjs jsx ts mts cts tsx vue svelte py pyi rb rs go c h cc cpp cxx hh hpp hxx ino m mm java kt kts scala groovy gradle cs fs swift dart php pl pm lua r jl hs ml mli clj ex exs erl
    sh bash zsh fish ps1 bat cmd awk sed sql graphql proto cmake mk make diff patch srt vtt service socket timer desktop rules list sources nix tf hcl vim el lisp scm tcl asm s v sv vhd`,
};
const TYPES = new Map<string, FileType>(
  Object.entries(BY_ENDING).flatMap(([type, endings]) => endings.split(/\s+/).map((ending): [string, FileType] => [ending, type as FileType])),
);
const TEXT_NAMES = /^(makefile|dockerfile|license.*|readme.*|changelog.*|authors|copying|todo|notice|\.[a-z]+(rc|ignore|profile|config|attributes)|\.profile|\.env.*|hosts|fstab|passwd|crontab)$/i;

export function typeOf(name: string): FileType {
  return TYPES.get(extension(name)) ?? (TEXT_NAMES.test(name) ? 'text' : 'other');
}
