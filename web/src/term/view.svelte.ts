// One terminal on the page: xterm.js on one side, the channel to its session on the other.

import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { UnicodeGraphemesAddon } from '@xterm/addon-unicode-graphemes';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { WebglAddon } from '@xterm/addon-webgl';
import { Terminal, type ITheme } from '@xterm/xterm';
import { currentToken } from '../lib/api';
import { display } from '../lib/bytes';
import { bytes as readableBytes } from '../lib/i18n';
import { Channel, type Over } from '../lib/link/channel';
import { clock, openSocket } from '../lib/link/socket';
import { toast } from '../lib/ui/toast.svelte';
import { check } from '../shell/account.svelte';
import { randomId, remember, type Tab } from '../shell/tabs.svelte';
import { encodeText, encodingName, type Encoding } from './encoding';
import { keyText, modified } from './keys';
import { t } from './strings';

/** Bytes of a text that a program may put into the clipboard. */
const CLIPBOARD_LEN_MAX = 1 << 20;
const RESIZE_PAUSE_MS = 60;
const REDRAW_PAUSE_MS = 500;

export class TerminalView {
  phase: 'connecting' | 'live' | 'lost' | 'over' = $state('connecting');
  over: Over | null = $state(null);
  isInputClosed = $state(false);
  encoding: Encoding = $state('utf-8');
  /** What the program may do with the clipboard, and the text for which it has to be asked. */
  clipboard: 'ask' | 'yes' | 'no' = $state('ask');
  clipboardText: string | null = $state(null);
  /** Modifiers that were tapped on the bar and wait for the next key. */
  sticky = $state({ ctrl: false, alt: false });
  size = $state({ rows: 24, cols: 80 });
  hasSelection = $state(false);
  matches = $state({ at: -1, count: 0 });

  readonly #tab: Tab;
  readonly #terminal: Terminal;
  readonly #fit = new FitAddon();
  readonly #search = new SearchAddon({ highlightLimit: 500 });
  readonly #handleEnter: () => void;
  #webgl: WebglAddon | null = null;
  #channel: Channel | null = null;
  #decoder: TextDecoder | null = null;
  #resizing: ReturnType<typeof setTimeout> | undefined;

  /** `handleEnter`: Enter was pressed in a terminal whose program has ended. */
  constructor(tab: Tab, look: { theme: ITheme; fontSize: number; fontFamily: string; screenReader: boolean }, handleEnter: () => void) {
    this.#tab = tab;
    this.#handleEnter = handleEnter;
    const openLink = (_: MouseEvent, uri: string) => {
      if (/^https?:\/\//i.test(uri)) window.open(uri, '_blank', 'noopener,noreferrer');
    };
    this.#terminal = new Terminal({
      allowProposedApi: true,
      scrollback: 10_000,
      convertEol: !tab.isTerminal,
      cursorBlink: false,
      cursorInactiveStyle: 'outline',
      disableStdin: tab.view !== 'type',
      macOptionIsMeta: true,
      rightClickSelectsWord: false,
      minimumContrastRatio: 3,
      linkHandler: { activate: openLink },
      theme: look.theme,
      fontSize: look.fontSize,
      fontFamily: look.fontFamily,
      screenReaderMode: look.screenReader,
    });
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.loadAddon(this.#search);
    this.#terminal.loadAddon(new UnicodeGraphemesAddon());
    this.#terminal.loadAddon(new WebLinksAddon(openLink));
    this.#listen();
  }

  /** Draws into an element that is laid out, and begins. */
  mount(element: HTMLElement): void {
    this.#terminal.open(element);
    this.#terminal.textarea?.setAttribute('aria-label', t('input'));
    this.fit();
    this.connect();
  }

  /** Looks at the session, from its start or again. */
  connect(): void {
    const { session, run, view } = this.#tab;
    this.#channel?.close();
    this.over = null;
    this.phase = 'connecting';
    this.#tab.isOver = false;
    this.#channel = new Channel({
      begin: session === null && run ? { run } : { attach: session ?? '', view },
      // Another channel is another writer: it does not know what the one before has typed.
      writer: session === null && run ? run.id : randomId(),
      size: this.size,
      open: openSocket,
      token: currentToken,
      clock,
      events: {
        show: (bytes, _stream, done) => this.#show(bytes, done),
        screen: (size) => this.#handleScreen(size),
        gap: (bytes) => this.#terminal.write(`\r\n\x1b[7m${t('gap', { size: readableBytes(bytes) })}\x1b[m\r\n`),
        session: (id) => {
          this.#tab.session = id;
          remember();
        },
        viewers: (typing, watching) => this.#handleViewers(typing, watching),
        inputClosed: () => (this.isInputClosed = true),
        live: (isLive) => (this.phase = isLive ? 'live' : 'lost'),
        over: (why) => this.#handleOver(why),
        trouble: () => void check(),
      },
    });
  }

  dispose(): void {
    clearTimeout(this.#resizing);
    this.#channel?.close();
    this.#webgl?.dispose();
    this.#terminal.dispose();
  }

  /** The page is seen again, or the network is back. */
  wake(): void {
    this.#channel?.wake();
  }

  /** In front: drawn by the graphics card, of which a browser lends out few. */
  setVisible(isVisible: boolean): void {
    if (!isVisible) {
      this.#webgl?.dispose();
      this.#webgl = null;
      return;
    }
    this.fit();
    if (this.#webgl || !hasGraphics()) return;
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => {
        webgl.dispose();
        if (this.#webgl === webgl) this.#webgl = null;
      });
      this.#terminal.loadAddon(webgl);
      this.#webgl = webgl;
    } catch {
      // Drawn by elements then.
    }
  }

  focus(): void {
    this.#terminal.focus();
  }

  /** Takes the size of the element; a terminal that is only watched has that of the session. */
  fit(): void {
    if (this.#tab.view === 'watch') return;
    const size = this.#fit.proposeDimensions();
    if (!size || !Number.isFinite(size.rows) || !Number.isFinite(size.cols)) return;
    const { rows, cols } = { rows: Math.max(1, size.rows), cols: Math.max(2, size.cols) };
    if (rows === this.#terminal.rows && cols === this.#terminal.cols && this.size.rows === rows && this.size.cols === cols) return;
    this.#terminal.resize(cols, rows);
    this.size = { rows, cols };
    clearTimeout(this.#resizing);
    this.#resizing = setTimeout(() => this.#channel?.resize({ rows, cols }), RESIZE_PAUSE_MS);
  }

  setLook(look: { theme: ITheme; fontSize: number; screenReader: boolean }): void {
    const { options } = this.#terminal;
    options.theme = look.theme;
    options.screenReaderMode = look.screenReader;
    if (options.fontSize !== look.fontSize) {
      options.fontSize = look.fontSize;
      this.fit();
    }
  }

  setEncoding(encoding: Encoding): void {
    this.encoding = encoding;
    this.#decoder = encoding === 'utf-8' ? null : new TextDecoder(encoding);
  }

  /** Asks the machine to draw the screen again. */
  redraw(): void {
    this.#channel?.refresh();
  }

  clear(): void {
    this.#terminal.clear();
  }

  selectAll(): void {
    this.#terminal.selectAll();
  }

  async copy(): Promise<void> {
    const text = this.#terminal.getSelection();
    if (text !== '') await this.#toClipboard(text);
  }

  async paste(): Promise<void> {
    this.#terminal.paste(await navigator.clipboard.readText());
  }

  /** A key of the bar. */
  press(key: string): void {
    const modifiers = { ...this.sticky };
    this.sticky = { ctrl: false, alt: false };
    this.#type(keyText(key, modifiers, this.#terminal.modes.applicationCursorKeysMode));
    this.#terminal.scrollToBottom();
  }

  find(text: string, direction: 'next' | 'previous' | 'typing', options: { caseSensitive: boolean; regex: boolean }): void {
    if (text === '' || (options.regex && !isRegex(text))) {
      this.#search.clearDecorations();
      this.matches = { at: -1, count: 0 };
      return;
    }
    const decorations = { matchBackground: '#c9a227', matchOverviewRuler: '#c9a227', activeMatchBackground: '#e8762c', activeMatchColorOverviewRuler: '#e8762c' };
    if (direction === 'previous') this.#search.findPrevious(text, { ...options, decorations });
    else this.#search.findNext(text, { ...options, decorations, incremental: direction === 'typing' });
  }

  endSearch(): void {
    this.#search.clearDecorations();
    this.matches = { at: -1, count: 0 };
    this.focus();
  }

  /** The person's answer to a program that wants to write to the clipboard. */
  async answerClipboard(answer: 'yes' | 'no'): Promise<void> {
    this.clipboard = answer;
    const text = this.clipboardText;
    this.clipboardText = null;
    if (answer === 'yes' && text !== null) await this.#toClipboard(text);
    this.focus();
  }

  #listen(): void {
    const terminal = this.#terminal;
    terminal.onData((text) => this.#handleTyped(text));
    terminal.onBinary((text) => this.#send(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    terminal.onTitleChange((title) => {
      this.#tab.title = display(title.slice(0, 200));
      remember();
    });
    terminal.onBell(() => (this.#tab.rang = true));
    terminal.onSelectionChange(() => (this.hasSelection = terminal.hasSelection()));
    this.#search.onDidChangeResults(({ resultIndex, resultCount }) => (this.matches = { at: resultIndex, count: resultCount }));
    terminal.parser.registerOscHandler(52, (data) => this.#handleClipboard(data));
    terminal.attachCustomKeyEventHandler((event) => this.#handleKey(event));
  }

  #handleKey(event: KeyboardEvent): boolean {
    const isOurs = event.ctrlKey && event.shiftKey && !event.altKey && !event.metaKey;
    if (isOurs && event.code === 'KeyC') {
      event.preventDefault();
      if (event.type === 'keydown') void this.copy();
      return false;
    }
    // The page's own keys; pasting with Ctrl+Shift+V is the browser's.
    return !(isOurs && ['KeyV', 'KeyL', 'KeyF'].includes(event.code));
  }

  #handleTyped(text: string): void {
    if (this.phase === 'over') {
      if (text === '\r') this.#handleEnter();
      return;
    }
    const { ctrl, alt } = this.sticky;
    if (!ctrl && !alt) return this.#type(text);
    this.sticky = { ctrl: false, alt: false };
    this.#type(modified(text, { ctrl, alt }));
  }

  #type(text: string): void {
    const bytes = encodeText(text, this.encoding);
    if (bytes) this.#send(bytes);
    else toast(t('notInEncoding', { encoding: encodingName(this.encoding) }), 'error');
  }

  #send(bytes: Uint8Array): void {
    if (this.#channel && !this.#channel.write(bytes)) toast(t('pasteTooMuch'), 'error');
  }

  #show(bytes: Uint8Array, done: () => void): void {
    this.#terminal.write(this.#decoder ? this.#decoder.decode(bytes, { stream: true }) : bytes, done);
  }

  #handleScreen(size: { rows: number; cols: number }): void {
    if (this.#tab.view !== 'watch') return;
    this.size = { rows: size.rows, cols: size.cols };
    this.#terminal.resize(Math.max(2, size.cols), Math.max(1, size.rows));
  }

  /** Who begins to type brings a size, of which those who watch are told with a new screen only. */
  #handleViewers(typing: number, watching: number): void {
    const isMore = typing > this.#tab.typing;
    Object.assign(this.#tab, { typing, watching });
    if (this.#tab.view !== 'watch' || !isMore) return;
    clearTimeout(this.#resizing);
    this.#resizing = setTimeout(() => this.redraw(), REDRAW_PAUSE_MS);
  }

  #handleOver(why: Over): void {
    if (why.is === 'closed') return;
    this.over = why;
    this.phase = 'over';
    this.#tab.isOver = true;
    remember();
  }

  /** OSC 52: `c;BASE64`. Reading the clipboard is never answered. */
  #handleClipboard(data: string): boolean {
    const encoded = data.slice(data.indexOf(';') + 1);
    if (this.clipboard === 'no' || this.#tab.view !== 'type' || encoded === '?' || encoded.length > (CLIPBOARD_LEN_MAX * 4) / 3) return true;
    let text: string;
    try {
      text = new TextDecoder().decode(Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0)));
    } catch {
      return true;
    }
    if (this.clipboard === 'yes') void this.#toClipboard(text);
    else this.clipboardText = text;
    return true;
  }

  async #toClipboard(text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      toast(t('clipboardFailed'), 'error', { label: t('copy'), run: () => void navigator.clipboard.writeText(text) });
    }
  }
}

function isRegex(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}

let graphics: boolean | null = null;

/** True where WebGL is drawn by a graphics card. By the processor it is slower than elements are. */
function hasGraphics(): boolean {
  if (graphics !== null) return graphics;
  const context = document.createElement('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true });
  const renderer = context?.getExtension('WEBGL_debug_renderer_info');
  const name = context && renderer ? String(context.getParameter(renderer.UNMASKED_RENDERER_WEBGL)) : '';
  context?.getExtension('WEBGL_lose_context')?.loseContext();
  graphics = context !== null && !/swiftshader|llvmpipe|software/i.test(name);
  return graphics;
}
