// A view of a session over a WebSocket, and over the next one when it is lost (PROTOCOL 7.1, 7.5; HTTP 5). Not a byte and not a key is
// lost or repeated by that. It draws nothing and knows no page: `events` are told what happens.

import { BrokenLink, decode, encode, encodeJson, Kind, large, parse, type Frame } from './frame';
import { Pacer, type Show } from './pacer';
import { Received, type Output } from './received';
import type { Clock, Socket } from './socket';
import { Typed } from './typed';

export interface Size {
  rows: number;
  cols: number;
}

export type View = 'type' | 'watch' | 'log' | 'follow';

/** How the channel begins: a new program, or a session that is there. */
export type Begin = { run: Record<string, unknown> & { id: string } } | { attach: string; view: View };

/** How a program ended (PROTOCOL 7.1). */
export interface ExitRecord {
  ended: { code: number } | { signal: { name: string; number: number } };
  by: 'itself' | 'timeout' | 'lease' | 'user' | 'node';
}

export interface Refusal {
  code: number;
  retry: boolean;
  right?: string;
}

/** Why nothing more comes. */
export type Over = { is: 'exit'; record: ExitRecord } | { is: 'caught_up' } | { is: 'refused'; refusal: Refusal } | { is: 'broken'; why: string } | { is: 'closed' };

export interface Events {
  show: Show;
  /** What is shown next is the whole screen of a terminal of this size. */
  screen(size: Size): void;
  /** So many bytes were not kept and are missing here. */
  gap(bytes: number): void;
  session(id: string): void;
  viewers(typing: number, watching: number): void;
  inputClosed(): void;
  /** The link is there, or has been lost and is being made again. */
  live(isLive: boolean): void;
  over(why: Over): void;
  /** It was tried several times in vain: perhaps nobody is signed in any more. */
  trouble(): void;
}

export interface Options {
  begin: Begin;
  /** Who types: the same name for all links of this view. */
  writer: string;
  size: Size;
  open: () => Socket;
  token: () => string | null;
  clock: Clock;
  events: Events;
  /** Output that may be on its way or wait to be shown, in bytes; as with `tow run` by default. */
  window?: number;
}

const WINDOW = 256 << 10;
const SILENCE_MS = 15_000;
const DEAD_MS = 35_000;
const REPLY_MS = 15_000;
/** How long an answer may take of a link of which nobody knows whether it still is one. */
const PROBE_MS = 4_000;
const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 2_000;
const TROUBLE_AFTER = 3;

type Phase = 'waiting' | 'opening' | 'asking' | 'live' | 'over';

export class Channel {
  readonly #options: Options;
  readonly #typed = new Typed();
  readonly #streams: [Received, Received];
  readonly #pacer: Pacer;
  readonly #window: number;
  #phase: Phase = 'waiting';
  #socket: Socket | null = null;
  #session: string | null;
  #view: View;
  #isTerminal: boolean;
  #size: Size;
  /** The size that the session was told. */
  #told: Size | null = null;
  #pauseMs = 0;
  #attempts = 0;
  #failures = 0;
  #openedAt = 0;
  #liveSince = 0;
  #heardAt = 0;
  #stopTimer: () => void = () => {};

  constructor(options: Options) {
    this.#options = options;
    this.#size = options.size;
    this.#window = options.window ?? WINDOW;
    const { begin } = options;
    const isRun = 'run' in begin;
    this.#session = isRun ? null : begin.attach;
    this.#view = isRun ? 'type' : begin.view;
    this.#isTerminal = this.#view === 'type' || this.#view === 'watch';
    this.#streams = [new Received(this.#window, isRun ? 0 : null), new Received(this.#window, isRun ? 0 : null)];
    this.#pacer = new Pacer(options.events.show, (stream, bytes) => this.#handleShown(stream, bytes));
    this.#connect();
  }

  get isLive(): boolean {
    return this.#phase === 'live';
  }

  get isOver(): boolean {
    return this.#phase === 'over';
  }

  /** Types; false where more waits than is kept. */
  write(bytes: Uint8Array): boolean {
    if (this.#view !== 'type' || this.isOver) return true;
    const isTaken = this.#typed.write(bytes);
    this.#sendTyped();
    return isTaken;
  }

  resize(size: Size): void {
    if (size.rows === this.#size.rows && size.cols === this.#size.cols) return;
    this.#size = size;
    this.#saySize();
  }

  /** Asks for the screen to be drawn again. */
  refresh(): void {
    this.#say({ event: 'refresh' });
  }

  /** Something may have changed (the page is seen again, the network is back): tries at once, or makes sure that the link still is one. */
  wake(): void {
    const since = this.#options.clock.now();
    if (this.#phase === 'waiting' || (this.#phase !== 'live' && since - this.#openedAt > PROBE_MS)) {
      this.#drop();
      this.#connect();
    } else if (this.#phase === 'live') {
      this.#send(encode(Kind.Ping, new Uint8Array()));
      this.#timer(PROBE_MS, () => (this.#heardAt < since ? this.#lose() : this.#watchSilence()));
    }
  }

  /** Looks no longer. The session goes on by its lease. */
  close(): void {
    this.#end({ is: 'closed' });
  }

  #connect(): void {
    this.#phase = 'opening';
    this.#openedAt = this.#options.clock.now();
    let socket: Socket;
    try {
      socket = this.#options.open();
    } catch {
      return this.#lose();
    }
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onopen = () => {
      const token = this.#options.token();
      if (this.#socket === socket) socket.send(JSON.stringify({ token }));
    };
    socket.onmessage = (event) => this.#socket === socket && this.#handleMessage(event.data as unknown);
    socket.onclose = () => this.#socket === socket && this.#lose();
    this.#timer(REPLY_MS, () => this.#lose());
  }

  #handleMessage(data: unknown): void {
    this.#heardAt = this.#options.clock.now();
    try {
      if (typeof data === 'string') return this.#handleReady();
      const frame = decode(data as ArrayBuffer);
      if (frame) this.#handleFrame(frame);
    } catch (error) {
      if (!(error instanceof BrokenLink)) throw error;
      this.#end({ is: 'broken', why: error.message });
    }
  }

  #handleReady(): void {
    if (this.#phase !== 'opening') return;
    this.#phase = 'asking';
    this.#send(encodeJson(Kind.Head, this.#request()));
  }

  #request(): Record<string, unknown> {
    const { begin, writer } = this.#options;
    // What is asked for again with the same id finds the program as it was started, perhaps with another size.
    this.#told = this.#session === null && this.#attempts++ > 0 ? null : this.#size;
    if (this.#session === null && 'run' in begin) {
      return { verb: 'run', ...begin.run, terminal: this.#size, stdout_to: this.#window, stderr_to: this.#window };
    }
    const [stdout, stderr] = this.#streams.map((stream) => stream.ask());
    return {
      verb: 'attach',
      session: this.#session,
      view: this.#view,
      ...(this.#view === 'type' && { writer }),
      ...(this.#isTerminal && this.#view === 'type' && { window: this.#size }),
      ...(stdout !== null && { stdout_from: stdout }),
      ...(stderr !== null && { stderr_from: stderr }),
      room: this.#window,
    };
  }

  #handleFrame({ kind, payload }: Frame): void {
    switch (kind) {
      case Kind.Ping:
        return this.#send(encode(Kind.Pong, payload));
      case Kind.Pong:
        return;
      case Kind.Head:
        return this.#handleHead(parse(payload));
      case Kind.Data:
        return this.#output(1, this.#stream(1).take(payload));
      case Kind.DataErr:
        return this.#output(2, this.#stream(2).take(payload));
      case Kind.Credit: {
        const credit = parse(payload);
        if (credit.stream !== 0) return;
        this.#typed.handleCredit(large(credit.to));
        return this.#sendTyped();
      }
      case Kind.End: {
        const end = parse(payload);
        return this.#stream(end.stream).handleEnd(large(end.total));
      }
    }
  }

  #handleHead(head: Record<string, unknown>): void {
    if ('refused' in head) return this.#handleRefusal(head.refused as Refusal);
    if (this.#phase === 'asking') {
      if (typeof head.ok !== 'object' || head.ok === null) throw new BrokenLink('a reply that is none');
      return this.#handleReply(head.ok as Record<string, unknown>);
    }
    if (this.#phase === 'live') this.#handleEvent(head);
  }

  #handleRefusal(refusal: Refusal): void {
    if (refusal.retry) return this.#lose();
    // 10 to 12: this browser's key is unknown, expired, removed.
    if (refusal.code >= 10 && refusal.code <= 12) this.#options.events.trouble();
    this.#end({ is: 'refused', refusal });
  }

  #handleReply(ok: Record<string, unknown>): void {
    const { events, clock } = this.#options;
    if (typeof ok.session !== 'string') throw new BrokenLink('a reply without a session');
    const isNews = this.#session !== ok.session || !('run' in this.#options.begin);
    this.#session = ok.session;
    if (typeof ok.terminal === 'boolean') this.#isTerminal = ok.terminal && (this.#view === 'type' || this.#view === 'watch');
    this.#streams[0].resume(large(ok.stdout_from ?? 0), this.#isTerminal);
    this.#streams[1].resume(large(ok.stderr_from ?? 0), false);
    if (this.#view === 'type') {
      this.#typed.resume(large(ok.stdin_from), large(ok.stdin_to), large(ok.stdin_window));
      if (this.#typed.isClosed) events.inputClosed();
    }
    this.#phase = 'live';
    this.#failures = 0;
    this.#liveSince = clock.now();
    this.#watchSilence();
    if (isNews) events.session(ok.session);
    events.live(true);
    this.#saySize();
    this.#sendTyped();
  }

  #handleEvent(head: Record<string, unknown>): void {
    const { events } = this.#options;
    switch (head.event) {
      case 'screen':
        return this.#output(1, this.#streams[0].handleScreen(large(head.at), large(head.rows), large(head.cols), large(head.bytes)));
      case 'gap': {
        const number = head.stream as number;
        const stream = this.#stream(number);
        this.#output(number, stream.handleGap(large(head.from), large(head.to)));
        return this.#grant(number, stream.credit);
      }
      case 'viewers':
        return events.viewers(large(head.typing), large(head.watching));
      case 'stdin_closed':
        this.#typed.close();
        return events.inputClosed();
      case 'caught_up':
        return this.#end({ is: 'caught_up' });
      case 'exit':
        return this.#end({ is: 'exit', record: head as unknown as ExitRecord });
    }
  }

  #output(stream: number, output: Output | null): void {
    if (!output) return;
    if (output.is === 'bytes') {
      this.#pauseMs = 0;
      this.#pacer.push(output.bytes, stream);
    } else if (output.is === 'gap') {
      this.#options.events.gap(output.to - output.from);
    } else {
      this.#pacer.drop();
      this.#options.events.screen(output);
      this.#pacer.push(output.bytes, stream, false);
      this.#grant(stream, this.#stream(stream).credit);
    }
  }

  #handleShown(stream: number, bytes: number): void {
    const to = this.#stream(stream).handleConsumed(bytes);
    if (to !== null) this.#grant(stream, to);
  }

  #grant(stream: number, to: number): void {
    if (this.#phase === 'live') this.#send(encodeJson(Kind.Credit, { stream, to }));
  }

  #stream(number: unknown): Received {
    if (number === 1) return this.#streams[0];
    if (number === 2) return this.#streams[1];
    throw new BrokenLink('no such stream');
  }

  #say(event: Record<string, unknown>): void {
    if (this.#phase === 'live') this.#send(encodeJson(Kind.Head, event));
  }

  #saySize(): void {
    const { rows, cols } = this.#size;
    if (this.#phase !== 'live' || this.#view !== 'type' || (this.#told?.rows === rows && this.#told.cols === cols)) return;
    this.#told = this.#size;
    this.#say({ event: 'resize', rows, cols });
  }

  #sendTyped(): void {
    if (this.#phase !== 'live') return;
    for (let piece = this.#typed.next(); piece; piece = this.#typed.next()) this.#send(encode(Kind.Data, piece));
  }

  #send(message: Uint8Array<ArrayBuffer>): void {
    this.#socket?.send(message);
  }

  /** While the link is there: asks after 15 s of silence, gives up after 35 (PROTOCOL 3.5). */
  #watchSilence(): void {
    const silence = this.#options.clock.now() - this.#heardAt;
    if (silence >= DEAD_MS) return this.#lose();
    if (silence >= SILENCE_MS) this.#send(encode(Kind.Ping, new Uint8Array()));
    this.#timer(silence < SILENCE_MS ? SILENCE_MS - silence : Math.min(SILENCE_MS, DEAD_MS - silence), () => this.#watchSilence());
  }

  /** The link is lost: at once a new one, then with a growing pause. */
  #lose(): void {
    if (this.isOver) return;
    const { clock, events } = this.#options;
    const wasLive = this.#phase === 'live';
    this.#drop();
    this.#phase = 'waiting';
    // A node that lets us in and hangs up at once is not asked at once again.
    const isAtOnce = wasLive && (this.#pauseMs === 0 || clock.now() - this.#liveSince >= PAUSE_MAX_MS);
    const pauseMs = isAtOnce ? 0 : this.#pauseMs;
    this.#pauseMs = Math.min(PAUSE_MAX_MS, Math.max(PAUSE_MIN_MS, pauseMs * 2));
    if (!wasLive && ++this.#failures % TROUBLE_AFTER === 0) events.trouble();
    if (wasLive) events.live(false);
    this.#timer(pauseMs, () => this.#connect());
  }

  #end(why: Over): void {
    if (this.isOver) return;
    this.#phase = 'over';
    this.#drop();
    if (why.is === 'closed') this.#pacer.drop();
    this.#options.events.over(why);
  }

  #drop(): void {
    this.#stopTimer();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  #timer(ms: number, call: () => void): void {
    this.#stopTimer();
    this.#stopTimer = this.#options.clock.after(ms, call);
  }
}
