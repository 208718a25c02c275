// Which language a file is in, by its name. Each is loaded when it is needed first.

import { LanguageSupport, StreamLanguage, type StreamParser } from '@codemirror/language';
import { extension } from '../names';

type Load = () => Promise<LanguageSupport>;

const legacy = (load: () => Promise<StreamParser<unknown>>): Load => async () => new LanguageSupport(StreamLanguage.define(await load()));
const javascript = (options: { jsx?: boolean; typescript?: boolean }): Load => async () => (await import('@codemirror/lang-javascript')).javascript(options);
const cpp: Load = async () => (await import('@codemirror/lang-cpp')).cpp();
const shell = legacy(async () => (await import('@codemirror/legacy-modes/mode/shell')).shell);
const clike = (name: 'csharp' | 'kotlin' | 'scala' | 'dart'): Load => legacy(async () => (await import('@codemirror/legacy-modes/mode/clike'))[name] as StreamParser<unknown>);

const LOADS: [string, Load][] = [
  ['js mjs cjs jsx', javascript({ jsx: true })],
  ['ts mts cts', javascript({ typescript: true })],
  ['tsx', javascript({ jsx: true, typescript: true })],
  ['json jsonl ndjson json5 webmanifest map', async () => (await import('@codemirror/lang-json')).json()],
  ['html htm xhtml vue svelte', async () => (await import('@codemirror/lang-html')).html()],
  ['css scss less', async () => (await import('@codemirror/lang-css')).css()],
  ['py pyi', async () => (await import('@codemirror/lang-python')).python()],
  ['rs', async () => (await import('@codemirror/lang-rust')).rust()],
  ['md markdown', async () => (await import('@codemirror/lang-markdown')).markdown()],
  ['yaml yml', async () => (await import('@codemirror/lang-yaml')).yaml()],
  ['xml svg xsl xsd plist', async () => (await import('@codemirror/lang-xml')).xml()],
  ['sql', async () => (await import('@codemirror/lang-sql')).sql()],
  ['c h cc cpp cxx hh hpp hxx ino', cpp],
  ['java', async () => (await import('@codemirror/lang-java')).java()],
  ['php', async () => (await import('@codemirror/lang-php')).php()],
  ['sh bash zsh ksh bashrc profile', shell],
  ['cs', clike('csharp')],
  ['kt kts', clike('kotlin')],
  ['scala', clike('scala')],
  ['dart', clike('dart')],
  ['go', legacy(async () => (await import('@codemirror/legacy-modes/mode/go')).go)],
  ['rb', legacy(async () => (await import('@codemirror/legacy-modes/mode/ruby')).ruby)],
  ['lua', legacy(async () => (await import('@codemirror/legacy-modes/mode/lua')).lua)],
  ['pl pm', legacy(async () => (await import('@codemirror/legacy-modes/mode/perl')).perl)],
  ['toml lock', legacy(async () => (await import('@codemirror/legacy-modes/mode/toml')).toml)],
  ['ini cfg conf properties service socket timer desktop', legacy(async () => (await import('@codemirror/legacy-modes/mode/properties')).properties)],
  ['diff patch', legacy(async () => (await import('@codemirror/legacy-modes/mode/diff')).diff)],
  ['ps1', legacy(async () => (await import('@codemirror/legacy-modes/mode/powershell')).powerShell)],
];
const BY_ENDING = new Map(LOADS.flatMap(([endings, load]) => endings.split(' ').map((ending): [string, Load] => [ending, load])));
const BY_NAME: [RegExp, Load][] = [
  [/^dockerfile(\..*)?$/i, legacy(async () => (await import('@codemirror/legacy-modes/mode/dockerfile')).dockerFile)],
  [/^nginx.*\.conf$/i, legacy(async () => (await import('@codemirror/legacy-modes/mode/nginx')).nginx)],
  [/^\.(bash|zsh|k?sh)?(rc|_?profile|_aliases|env)$|^pkgbuild$/i, shell],
];

/** The language of a file; null where there is none, or where it can't be loaded: then it is plain text. */
export async function languageOf(name: string, firstLine: string): Promise<LanguageSupport | null> {
  const load = BY_NAME.find(([pattern]) => pattern.test(name))?.[1] ?? BY_ENDING.get(extension(name)) ?? byFirstLine(firstLine);
  try {
    return (await load?.()) ?? null;
  } catch {
    return null;
  }
}

function byFirstLine(line: string): Load | undefined {
  const program = /^#!\s*(?:\S*\/)?(?:env\s+(?:-S\s+)?)?([a-z]+)/.exec(line)?.[1] ?? '';
  return BY_ENDING.get({ python: 'py', node: 'js', ruby: 'rb', perl: 'pl', bash: 'sh', sh: 'sh', zsh: 'sh', dash: 'sh', php: 'php', lua: 'lua' }[program] ?? '');
}
