// The WebSocket and the clock, as a channel sees them: so that a test can be both.

/** A WebSocket, or what stands for one. */
export interface Socket {
  binaryType: BinaryType;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  send(message: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

export interface Clock {
  /** Milliseconds from some moment. */
  now(): number;
  /** Calls once, later; returns how to stop that. */
  after(ms: number, call: () => void): () => void;
}

export const clock: Clock = {
  now: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

/** The node's door for terminals (HTTP 5). */
export function openSocket(): Socket {
  const url = new URL('/api/v1/channel', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = '';
  return new WebSocket(url, 'tow1') as Socket;
}
