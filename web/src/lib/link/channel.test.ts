import { describe, expect, test } from 'vitest';
import { Channel, type Begin, type Events, type Options, type Over } from './channel';
import { FakeNode, Time } from './fake';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A page with one view of the node's session; what is shown is kept as text. */
class Page {
  shown = '';
  over: Over | null = null;
  lives: boolean[] = [];
  trouble = 0;
  viewers = 0;
  channel: Channel;

  constructor(node: FakeNode, begin: Begin = { run: { id: 'writer-1', program: 'login' } }, more: Partial<Events> = {}) {
    const events: Events = {
      show: (bytes, _stream, done) => {
        this.shown += text(bytes);
        node.time.after(1, done);
      },
      screen: () => (this.shown = ''),
      gap: (bytes) => (this.shown += `<${bytes} missing>`),
      session: () => {},
      viewers: () => (this.viewers += 1),
      inputClosed: () => {},
      live: (isLive) => this.lives.push(isLive),
      over: (why) => (this.over = why),
      trouble: () => (this.trouble += 1),
      ...more,
    };
    const options: Options = { begin, writer: 'writer-1', size: { rows: 24, cols: 80 }, open: () => node.open(), token: () => 'token', clock: node.time, events, window: 256 };
    this.channel = new Channel(options);
  }
}

/** Types, reads, resizes and ends a session, over links that are cut after so many bytes. */
function scripted(cuts: number[]): { node: FakeNode; page: Page } {
  const node = new FakeNode(new Time(), cuts);
  const page = new Page(node);
  const typed = (at: number, line: string) => node.time.after(at, () => void page.channel.write(new TextEncoder().encode(line)));
  typed(3, 'make -j2\n');
  typed(9, `${'x'.repeat(150)}\n`);
  node.time.after(20, () => node.print('output '.repeat(90)));
  typed(25, 'q');
  node.time.after(30, () => page.channel.resize({ rows: 50, cols: 120 }));
  node.time.after(40, () => node.jump('frames that nobody sees '.repeat(10)));
  node.time.after(60, () => node.print('the last line\n'));
  typed(70, 'exit\n');
  node.time.run(8000);
  return { node, page };
}

const TYPED = `make -j2\n${'x'.repeat(150)}\nqexit\n`;

describe('a channel', () => {
  test('loses and repeats nothing wherever its links are cut', () => {
    const whole = scripted([]);
    expect(whole.node.typed).toBe(TYPED);
    const bytes = whole.node.carried;
    expect(bytes).toBeGreaterThan(2500);
    for (let cut = 0; cut <= bytes; cut++) {
      const { node, page } = scripted([cut, (cut * 7) % 500]);
      expect([cut, node.typed, page.shown, page.over?.is, node.size]).toEqual([cut, TYPED, node.log, 'exit', 120]);
      expect(node.started).toBe(1);
    }
  }, 120_000);

  test('gives what is asked for in the right order, and keeps within its credit', () => {
    const { node, page } = scripted([]);
    expect(node.links).toBe(1);
    expect(page.lives).toEqual([true]);
    expect(page.shown).toBe(node.log);
  });

  test('keeps what is typed while there is no link', () => {
    const node = new FakeNode(new Time(), []);
    const page = new Page(node);
    node.time.run(10);
    node.isDown = true;
    node.hangUp();
    page.channel.write(new TextEncoder().encode('kept'));
    node.time.run(3000);
    expect(page.lives).toEqual([true, false]);
    node.isDown = false;
    node.time.run(3000);
    expect([node.typed, page.lives.at(-1)]).toEqual(['kept', true]);
  });

  test('tries at once, then after 50 ms doubling to 2 s, and says when that goes on', () => {
    const node = new FakeNode(new Time(), []);
    const page = new Page(node);
    node.time.run(10);
    node.isDown = true;
    const from = node.time.now();
    node.hangUp();
    node.time.run(8000);
    const attempts = node.attempts.slice(1).map((at) => at - from - 1);
    expect(attempts.slice(0, 7)).toEqual([0, 50, 150, 350, 750, 1550, 3150]);
    expect((attempts[8] ?? 0) - (attempts[7] ?? 0)).toBe(2000);
    expect(page.trouble).toBeGreaterThan(0);
  });

  test('a page that is seen again does not wait for its turn', () => {
    const node = new FakeNode(new Time(), []);
    const page = new Page(node);
    node.time.run(10);
    node.isDown = true;
    node.hangUp();
    node.time.run(6000);
    node.isDown = false;
    page.channel.wake();
    node.time.run(5);
    expect(page.channel.isLive).toBe(true);
  });

  test('a link that says nothing is asked after 15 s and given up after 35', () => {
    const node = new FakeNode(new Time(), []);
    const page = new Page(node);
    node.time.run(10);
    node.isSilent = true;
    node.time.run(34_000);
    expect([node.pings, page.lives]).toEqual([2, [true]]);
    node.time.run(2000);
    expect(page.lives).toEqual([true, false]);
  });

  test('a link that died while nobody looked is noticed when somebody does', () => {
    const node = new FakeNode(new Time(), []);
    const page = new Page(node);
    node.time.run(10);
    node.isSilent = true;
    page.channel.wake();
    node.time.run(4100);
    expect(page.lives[1]).toBe(false);
  });

  test('a session that is unknown is over, one of a busy machine is asked for again', () => {
    const node = new FakeNode(new Time(), []);
    node.refusal = { code: 53, blame: 'you', retry: false };
    const page = new Page(node, { attach: 'other', view: 'type' });
    node.time.run(1000);
    expect(page.over).toMatchObject({ is: 'refused', refusal: { code: 53 } });
    const busy = new FakeNode(new Time(), []);
    busy.refusal = { code: 60, blame: 'me', retry: true };
    const patient = new Page(busy);
    busy.time.run(1000);
    busy.refusal = null;
    busy.time.run(3000);
    expect([patient.over, patient.channel.isLive]).toEqual([null, true]);
  });

  test('what is no frame ends it, in words', () => {
    const node = new FakeNode(new Time(), []);
    const page = new Page(node);
    node.time.run(10);
    node.say(Uint8Array.of(1, 2, 3));
    node.time.run(10);
    expect(page.over).toMatchObject({ is: 'broken' });
  });

  test('who watches types nothing and has no size', () => {
    const node = new FakeNode(new Time(), []);
    node.print('before');
    const page = new Page(node, { attach: 'session', view: 'watch' });
    node.time.run(10);
    page.channel.write(new TextEncoder().encode('no'));
    node.print(' and after');
    node.time.run(100);
    expect([page.shown, node.typed]).toEqual(['before and after', '']);
  });
});
