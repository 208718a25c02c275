import { describe, expect, it, vi } from 'vitest';

import { type Choice, type Ending, PARALLEL, type Picked, type Report, type Transport, type Upload, UploadQueue } from './upload';
import { Rate } from './upload-rate';
import type { UploadRecord, UploadStore } from './upload-store';

vi.mock('svelte/reactivity', () => ({ createSubscriber: () => () => {} }));

class Sender implements Transport {
  going = new Map<Upload, Report>();
  discarded: string[] = [];
  dirs: string[] = [];
  send(upload: Upload, _file: File, report: Report): () => void {
    this.going.set(upload, report);
    return () => void this.going.delete(upload);
  }
  async discard(url: string): Promise<void> {
    this.discarded.push(url);
  }
  async makeDir(path: string): Promise<void> {
    this.dirs.push(path);
  }
  /** Ends the one with this path. */
  end(path: string, ending: Ending): void {
    for (const [upload, report] of this.going) {
      if (upload.path !== path) continue;
      this.going.delete(upload);
      report.ended(ending);
      return;
    }
    throw new Error(`${path} is not sent`);
  }
  paths(): string[] {
    return [...this.going.keys()].map(({ path }) => path);
  }
}

class Shelf implements UploadStore {
  readonly owner = 'page';
  records = new Map<string, UploadRecord>();
  async put(records: UploadRecord[]): Promise<void> {
    for (const record of records) this.records.set(record.id, { ...record });
  }
  async remove(ids: string[]): Promise<void> {
    for (const id of ids) this.records.delete(id);
  }
  async adopt(): Promise<UploadRecord[]> {
    return [...this.records.values()].map((record) => ({ ...record, owner: this.owner }));
  }
}

const file = (name: string, content = 'content'): File => new File([content], name, { lastModified: 1_700_000_000_000 });
const picked = (path: string): Picked => ({ path, file: file(path.slice(path.lastIndexOf('/') + 1)), handle: null });

function setUp(choices: { choice: Choice; all: boolean }[] = []) {
  const [sender, shelf, asked] = [new Sender(), new Shelf(), [] as string[]];
  const make = () =>
    new UploadQueue({
      transport: sender,
      store: shelf,
      beside: (path) => `${path}+`,
      ask: async ({ path }) => {
        asked.push(path);
        return choices.shift() ?? { choice: 'skip', all: true };
      },
      now: () => Date.now(),
    });
  return { sender, shelf, asked, queue: make(), make };
}

const settle = async (): Promise<void> => {
  for (let n = 0; n < 20; n++) await Promise.resolve();
};

describe('the queue', () => {
  it('makes directories before what is in them, and sends some files at a time', async () => {
    const { sender, queue, shelf } = setUp();
    await queue.add(['/a/b/c', '/a', '/a/b'], Array.from({ length: 9 }, (_, n) => picked(`/a/${n}`)));
    expect(sender.dirs).toEqual(['/a', '/a/b', '/a/b/c']);
    expect(sender.paths()).toEqual(['/a/0', '/a/1', '/a/2', '/a/3']);
    expect(sender.going.size).toBe(PARALLEL);
    expect(shelf.records.size).toBe(9);
    sender.end('/a/1', { kind: 'done' });
    expect(sender.paths()).toEqual(['/a/0', '/a/2', '/a/3', '/a/4']);
    await settle();
    expect(shelf.records.size).toBe(8);
    expect(queue.totals()).toMatchObject({ files: 9, done: 1, busy: true, bytes: 63, sent: 7 });
  });

  it('tries again later what fails in passing, at once when the network is back, and not what fails for good', async () => {
    vi.useFakeTimers();
    const { sender, queue } = setUp();
    await queue.add([], [picked('/a'), picked('/b')]);
    sender.end('/a', { kind: 'again', error: null });
    sender.end('/b', { kind: 'failed', error: new Error('no') });
    expect(queue.items.map(({ state }) => state)).toEqual(['retrying', 'failed']);
    await vi.advanceTimersByTimeAsync(1100);
    expect(sender.paths()).toEqual(['/a']);
    sender.end('/a', { kind: 'again', error: null });
    await vi.advanceTimersByTimeAsync(1100);
    expect(sender.paths()).toEqual([]);
    queue.handleOnline();
    expect(sender.paths()).toEqual(['/a']);
    vi.useRealTimers();
  });

  it('waits as long as the node asks it to', async () => {
    vi.useFakeTimers();
    const { sender, queue } = setUp();
    await queue.add([], [picked('/a')]);
    sender.end('/a', { kind: 'again', error: null, afterSecs: 20 });
    await vi.advanceTimersByTimeAsync(19_000);
    expect(sender.paths()).toEqual([]);
    await vi.advanceTimersByTimeAsync(1500);
    expect(sender.paths()).toEqual(['/a']);
    vi.useRealTimers();
  });

  it('asks where a name is taken, once where the answer is for all', async () => {
    const { sender, queue, asked } = setUp([{ choice: 'replace', all: false }, { choice: 'keep', all: true }]);
    await queue.add([], ['/a', '/b', '/c'].map(picked));
    for (const path of ['/a', '/b', '/c']) sender.end(path, { kind: 'exists' });
    await settle();
    expect(asked).toEqual(['/a', '/b']);
    expect(sender.paths().sort()).toEqual(['/a', '/b+', '/c+']);
    expect(queue.items.map(({ replace }) => replace)).toEqual([true, false, false]);
    sender.end('/b+', { kind: 'exists' });
    expect(sender.paths()).toContain('/b++');
  });

  it('skips what is to be skipped', async () => {
    const { sender, queue, shelf } = setUp([{ choice: 'skip', all: true }]);
    await queue.add([], ['/a', '/b'].map(picked));
    for (const path of ['/a', '/b']) sender.end(path, { kind: 'exists' });
    await settle();
    expect(queue.items).toEqual([]);
    expect(shelf.records.size).toBe(0);
  });

  it('pauses, goes on and cancels; what the node has is removed then', async () => {
    const { sender, queue } = setUp();
    await queue.add([], [picked('/a')]);
    const [upload] = queue.items;
    if (!upload) throw new Error('nothing added');
    sender.going.get(upload)?.located('/tus/1');
    const report = sender.going.get(upload);
    queue.pause(upload);
    expect([upload.state, sender.going.size]).toEqual(['paused', 0]);
    report?.progress(5);
    expect(upload.offset).toBe(0);
    queue.resume(upload);
    expect(sender.paths()).toEqual(['/a']);
    queue.cancel([upload]);
    expect([queue.items.length, sender.going.size, sender.discarded]).toEqual([0, 0, ['/tus/1']]);
  });

  it('goes on after a reload, once it is given the same file again', async () => {
    const { sender, queue, make } = setUp();
    await queue.add([], [picked('/x/a'), picked('/y/a'), picked('/b')]);
    const first = [...sender.going.entries()][0];
    first?.[1].located('/tus/7');
    sender.going.clear();

    const next = make();
    await next.restore();
    expect(next.items.map(({ state }) => state)).toEqual(['lost', 'lost', 'lost']);
    expect(next.offer([file('a', 'other content'), file('c')]).map(({ name }) => name)).toEqual(['a', 'c']);
    expect(next.offer([file('a'), file('b')])).toEqual([]);
    expect(sender.paths()).toEqual(['/x/a', '/b']);
    expect([...sender.going.keys()][0]?.url).toBe('/tus/7');
  });

  it('stops for who is not signed in any more', async () => {
    const { sender, queue } = setUp();
    await queue.add([], [picked('/a')]);
    sender.end('/a', { kind: 'signedOut' });
    expect(queue.items[0]?.state).toBe('paused');
    expect(queue.isBusy).toBe(false);
  });
});

it('a rate is that of the last seconds', () => {
  const rate = new Rate();
  for (let at = 0; at <= 10_000; at += 500) rate.note(at < 5000 ? 0 : (at - 5000) * 10, at);
  expect(rate.perSec(10_000)).toBeGreaterThan(7000);
  expect(rate.perSec(10_000)).toBeLessThan(10_100);
  expect(rate.perSec(30_000)).toBe(0);
  rate.note(5, 31_000);
  expect(rate.perSec(31_000)).toBe(0);
});
