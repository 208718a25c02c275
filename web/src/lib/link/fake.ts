// For tests: time that is told when to pass, and a node with one session, whose links can be cut after any byte.

import { decode, encode, encodeJson, Kind, parse } from './frame';
import type { Clock, Socket } from './socket';

interface Call {
  at: number;
  id: number;
  call: () => void;
}

export class Time implements Clock {
  #now = 0;
  #last = 0;
  #calls: Call[] = [];

  now = (): number => this.#now;

  after = (ms: number, call: () => void): (() => void) => {
    const entry = { at: this.#now + ms, id: ++this.#last, call };
    this.#calls.push(entry);
    return () => (this.#calls = this.#calls.filter((one) => one !== entry));
  };

  /** Lets so much time pass. */
  run(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      let next: Call | undefined;
      for (const one of this.#calls) if (!next || one.at < next.at || (one.at === next.at && one.id < next.id)) next = one;
      if (!next || next.at > until) break;
      this.#calls = this.#calls.filter((one) => one !== next);
      this.#now = next.at;
      next.call();
    }
    this.#now = until;
  }
}

const STDIN_WINDOW = 64;

/** One session, `session`, that keeps what is typed and prints what it is told to; it ends with the line `exit`. */
export class FakeNode {
  log = '';
  typed = '';
  size = 80;
  started = 0;
  links = 0;
  pings = 0;
  /** Bytes in both directions. */
  carried = 0;
  attempts: number[] = [];
  isDown = false;
  isSilent = false;
  refusal: Record<string, unknown> | null = null;
  #link: Link | null = null;
  #cuts: number[];

  constructor(
    readonly time: Time,
    cuts: number[],
  ) {
    this.#cuts = [...cuts];
  }

  open(): Socket {
    this.attempts.push(this.time.now());
    if (this.isDown) throw new Error('nobody listens');
    this.links += 1;
    return (this.#link = new Link(this, this.#cuts.shift() ?? Infinity));
  }

  hangUp(): void {
    this.#link?.cut();
  }

  say(message: Uint8Array<ArrayBuffer>): void {
    this.#link?.deliver(message);
  }

  print(output: string): void {
    this.log += output;
    this.#link?.pump();
  }

  /** The program printed more than the viewer keeps up with: it is shown the screen. */
  jump(output: string): void {
    this.log += output;
    this.#link?.draw();
  }

  get isEnded(): boolean {
    return this.typed.endsWith('exit\n');
  }
}

class Link implements Socket {
  binaryType: BinaryType = 'arraybuffer';
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  #isOpen = true;
  #isViewed = false;
  #types = false;
  #at = 0;
  #to = 0;
  #isOver = false;

  constructor(
    readonly node: FakeNode,
    private left: number,
  ) {
    node.time.after(1, () => this.#isOpen && this.onopen?.(undefined as never));
  }

  /** From the page to the node. */
  send(message: string | Uint8Array<ArrayBuffer>): void {
    if (!this.#isOpen || !this.#carry(message.length)) return;
    this.node.time.after(1, () => this.#isOpen && this.#handle(message));
  }

  close(): void {
    this.#isOpen = false;
  }

  /** From the node to the page. */
  deliver(message: string | Uint8Array<ArrayBuffer>): void {
    if (!this.#isOpen || this.node.isSilent || !this.#carry(message.length)) return;
    const data = typeof message === 'string' ? message : message.slice().buffer;
    this.node.time.after(1, () => this.#isOpen && this.onmessage?.({ data } as MessageEvent));
  }

  cut(): void {
    if (!this.#isOpen) return;
    this.node.time.after(1, () => {
      if (!this.#isOpen) return;
      this.#isOpen = false;
      this.onclose?.({ code: 1006 } as CloseEvent);
    });
  }

  draw(): void {
    if (!this.#isViewed || this.#isOver) return;
    const drawing = new TextEncoder().encode(this.node.log);
    const half = drawing.length >> 1;
    this.#head({ event: 'screen', at: drawing.length, rows: 24, cols: 80, bytes: drawing.length });
    this.deliver(encode(Kind.Data, drawing.subarray(0, half)));
    this.deliver(encode(Kind.Data, drawing.subarray(half)));
    this.#to += drawing.length - this.#at;
    this.#at = drawing.length;
    this.pump();
  }

  pump(): void {
    if (!this.#isViewed || this.#isOver) return;
    while (this.#at < Math.min(this.#to, this.node.log.length)) {
      const piece = this.node.log.slice(this.#at, Math.min(this.#to, this.#at + 70));
      this.#at += piece.length;
      this.deliver(encode(Kind.Data, new TextEncoder().encode(piece)));
    }
    if (!this.node.isEnded || this.#at < this.node.log.length) return;
    this.#isOver = true;
    const total = this.node.log.length;
    this.deliver(encodeJson(Kind.End, { stream: 1, total: String(total), blake3: '' }));
    this.deliver(encodeJson(Kind.End, { stream: 2, total: 0, blake3: '' }));
    this.#head({ event: 'exit', ended: { code: 0 }, by: 'itself', stdout: { bytes: total, blake3: '' }, stderr: { bytes: 0, blake3: '' } });
  }

  #carry(len: number): boolean {
    if (len > this.left) {
      this.left = 0;
      this.cut();
      return false;
    }
    this.left -= len;
    this.node.carried += len;
    return true;
  }

  #head(value: unknown): void {
    this.deliver(encodeJson(Kind.Head, value));
  }

  #handle(message: string | Uint8Array<ArrayBuffer>): void {
    if (typeof message === 'string') return this.deliver('{"ready":true}');
    const frame = decode(message.slice().buffer);
    if (!frame) return;
    if (frame.kind === Kind.Ping) {
      this.node.pings += 1;
      this.deliver(encode(Kind.Pong, frame.payload));
    } else if (frame.kind === Kind.Credit) {
      const credit = parse(frame.payload);
      if (credit.stream !== 1) return;
      this.#to = Math.max(this.#to, Number(credit.to));
      this.pump();
    } else if (frame.kind === Kind.Data) {
      if (!this.#types) throw new Error('input from somebody who watches');
      this.node.typed += new TextDecoder().decode(frame.payload);
      this.deliver(encodeJson(Kind.Credit, { stream: 0, to: this.node.typed.length + STDIN_WINDOW }));
      this.node.print(`>${new TextDecoder().decode(frame.payload)}`);
    } else if (frame.kind === Kind.Head) this.#handleHead(parse(frame.payload));
  }

  #handleHead(head: Record<string, unknown>): void {
    const { node } = this;
    if (head.event === 'resize') node.size = head.cols as number;
    if (head.verb === undefined) return;
    if (node.refusal) return this.#head({ refused: node.refusal });
    if (head.verb === 'run' && node.started === 0) node.started = 1;
    this.#types = head.verb === 'run' || head.view === 'type';
    const window = (head.window ?? head.terminal) as { cols: number } | undefined;
    if (window) node.size = window.cols;
    const stdin = { stdin_from: node.typed.length, stdin_to: node.typed.length + STDIN_WINDOW, stdin_window: STDIN_WINDOW };
    const isNew = head.stdout_from === undefined && head.verb === 'attach';
    this.#at = Number(head.stdout_from ?? 0);
    this.#to = this.#at + Number(head.room ?? head.stdout_to);
    this.#head({ ok: { session: 'session', terminal: true, stdout_from: this.#at, stderr_from: 0, ...stdin } });
    this.#isViewed = true;
    this.#head({ event: 'viewers', typing: 1, watching: 0 });
    if (isNew) this.draw();
    else this.pump();
  }
}
