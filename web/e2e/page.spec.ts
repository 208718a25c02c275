import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { everything, front, Machine, openShell, paste, ready, SHOTS, shown, tow, type, until } from './machine';

let machine: Machine;
mkdirSync(SHOTS, { recursive: true });
beforeAll(async () => void (machine = await Machine.begin()));
afterAll(() => machine.end());

/** A page, what is done with it, and nothing that went wrong in it. */
async function withPage(use: (page: Page) => Promise<void>, options: Parameters<Machine['page']>[0] = {}): Promise<void> {
  const { page, problems } = await machine.page(options);
  try {
    await use(page);
    expect(problems).toEqual([]);
  } finally {
    await page.context().close();
  }
}

describe('signing in', () => {
  test('the secret is wiped from the address', () => {
    expect(machine.addressAfter).toBe(machine.url);
  });

  test('who is not signed in is told how to get in, and what is wrong with a link', async () => {
    await withPage(async (page) => {
      await page.getByRole('heading', { name: /Sign in/ }).waitFor();
      await page.screenshot({ path: `${SHOTS}sign-in.png` });
      await page.getByLabel('Link').fill('nonsense');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByText('That is no sign-in link').waitFor();
      await page.getByLabel('Link').fill(`${machine.url}#tow1.${'A'.repeat(43)}.${'A'.repeat(22)}`);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('alert').getByText(/invitation|link is wrong|used/).waitFor();
    }, { storageState: { cookies: [], origins: [] } });
  });
});

describe('a terminal', () => {
  test('runs a shell that echoes, lists and has the size of the window', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'ls -d /etc /usr; stty size\n');
      const before = await until(page, (text) => /\/etc {2}\/usr\n\d+ \d+/.test(text));
      await page.setViewportSize({ width: 900, height: 500 });
      await page.waitForTimeout(500);
      await type(page, 'clear; echo now; stty size\n');
      const after = await until(page, (text) => /^now\n\d+ \d+$/m.test(text));
      const size = (text: string) => (/^(\d+) (\d+)$/m.exec(text) ?? []).slice(1).map(Number);
      const [[rows = 0, cols = 0], [fewer = 0, narrower = 0]] = [size(before), size(after)];
      expect(fewer).toBeLessThan(rows);
      expect(narrower).toBeLessThan(cols);
      await type(page, 'exit\n');
      await page.getByText('Ended: exit 0').first().waitFor();
    });
  });

  test('two of them are two shells, and each keeps its own', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'echo first\n');
      await until(page, (text) => text.includes('\nfirst'));
      await openShell(page);
      await type(page, 'echo second\n');
      expect(await until(page, (text) => text.includes('\nsecond'))).not.toContain('first');
      await page.getByRole('tab').nth(1).click();
      expect(await until(page, (text) => text.includes('\nfirst'))).not.toContain('second');
      for (let n = 0; n < 2; n++) {
        await type(page, 'exit\n');
        await front(page).getByText('Ended').first().waitFor();
        await page.keyboard.press('Enter');
      }
      await page.getByText('No terminal is open').waitFor();
    });
  });

  test('goes on after a reload', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'X=kept; echo before\n');
      await until(page, (text) => text.includes('\nbefore'));
      await page.reload();
      await ready(page);
      await until(page, (text) => text.includes('\nbefore'));
      await type(page, 'echo "variable $X"; exit\n');
      await until(page, (text) => text.includes('variable kept'));
    });
  });

  test('attaches to what the command line started', async () => {
    const id = tow('run', '-d', '-t', '.', '--', 'sh', '-c', 'echo from the command line; read line; echo "got $line"').trim();
    await withPage(async (page) => {
      await page.getByRole('button', { name: /from the command line/ }).first().click();
      await ready(page);
      await until(page, (text) => text.includes('from the command line'));
      await type(page, 'typed here\n');
      await until(page, (text) => text.includes('got typed here'));
      await front(page).getByText('Ended: exit 0').first().waitFor();
      expect(tow('sessions', '.')).toContain(id);
    });
  });

  test('loses nothing when its connection is cut, again and again', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'for i in $(seq 1 20000); do echo $i; [ $((i % 100)) = 0 ] && sleep 0.01; done; echo end\n');
      for (let n = 0; n < 6; n++) {
        await page.waitForTimeout(300);
        machine.wire.cut();
      }
      await type(page, 'echo typed while it ran\n');
      machine.wire.cut();
      await until(page, (text) => text.includes('\ntyped while it ran'), 60_000);
      // What is typed is echoed where the output stands at that moment: a number may follow it on its line.
      const numbers = (await everything(page)).split('\n').map((line) => line.trim().replace(/^[a-z ]+(?=\d+$)/, '')).filter((line) => /^\d+$/.test(line)).map(Number);
      expect(numbers.at(-1)).toBe(20_000);
      expect(numbers.length).toBeGreaterThan(9_000);
      expect(numbers).toEqual(numbers.map((_, index) => 20_001 - numbers.length + index));
      await type(page, 'exit\n');
    });
  });

  test('says that the connection is lost, keeps what is typed, and comes back by itself', async () => {
    await withPage(async (page) => {
      await openShell(page);
      machine.wire.isDown = true;
      machine.wire.cut();
      await front(page).getByText('Connection lost').waitFor();
      await type(page, 'echo kept meanwhile\n');
      await page.waitForTimeout(1000);
      machine.wire.isDown = false;
      await until(page, (text) => text.includes('\nkept meanwhile'));
      await type(page, 'exit\n');
    });
  });

  test('takes a megabyte that is pasted', async () => {
    const text = Array.from({ length: 16_384 }, (_, n) => `${n} `.padEnd(63, 'abcdefghij')).join('\n') + '\n';
    expect(text.length).toBe(1 << 20);
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'f=$(mktemp); stty -echo; cat > $f; stty echo; sha256sum < $f; rm $f\n');
      await page.waitForTimeout(300);
      await paste(page, text);
      await page.keyboard.press('Control+D');
      await until(page, (shown) => shown.includes(createHash('sha256').update(text).digest('hex')), 60_000);
      await type(page, 'exit\n');
    });
  });

  test('stays quick in a flood: Ctrl-C passes and no frame is long', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await page.evaluate(() => {
        const state = { longest: 0, last: performance.now() };
        Object.assign(window, { frames: state });
        const tick = (now: number) => {
          state.longest = Math.max(state.longest, now - state.last);
          state.last = now;
          requestAnimationFrame(tick);
        };
        requestAnimationFrame(tick);
      });
      await type(page, 'yes "$(seq -s " " 1 25)" | head -c 200000000; echo END\n');
      await page.waitForTimeout(3000);
      const longest = await page.evaluate(() => (window as unknown as { frames: { longest: number } }).frames.longest);
      const began = await page.evaluate(() => performance.now());
      await page.keyboard.press('Control+C');
      await page.waitForFunction(() => /\$\s*$/.test([...document.querySelectorAll('section.pane:not(.away) .xterm-rows > div')].map((row) => row.textContent?.replaceAll('\u00a0', ' ').trimEnd()).join('\n').trim()), undefined, { polling: 'raf', timeout: 20_000 });
      const took = (await page.evaluate(() => performance.now())) - began;
      console.log(`longest frame ${Math.round(longest)} ms, prompt after Ctrl-C ${Math.round(took)} ms`);
      expect(await shown(page)).not.toMatch(/^END/m);
      if (!LOADED) {
        expect(longest).toBeLessThan(200);
        expect(took).toBeLessThan(200);
      }
      await type(page, 'exit\n');
    });
  });

  test('goes on when the graphics card is lost', async () => {
    await withPage(async (page) => {
      // The processor draws here; the page is told of a card, and keeps the contexts where the test finds them.
      await page.addInitScript(() => {
        const contexts: WebGL2RenderingContext[] = [];
        Object.assign(window, { contexts });
        const parameter = WebGL2RenderingContext.prototype.getParameter;
        WebGL2RenderingContext.prototype.getParameter = function (name) {
          return name === 0x9246 ? 'a card' : (parameter.call(this, name) as unknown);
        };
        const getContext = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string, options?: object) {
          const context: unknown = getContext.call(this, kind, { ...options, failIfMajorPerformanceCaveat: false });
          if (context instanceof WebGL2RenderingContext) contexts.push(context);
          return context;
        } as typeof getContext;
      });
      await page.reload();
      await page.getByRole('button', { name: 'New terminal' }).first().click();
      await ready(page);
      await front(page).locator('.xterm-screen canvas').first().waitFor();
      await type(page, 'echo drawn\n');
      await page.waitForTimeout(500);
      expect(await shown(page)).toBe('');
      await page.screenshot({ path: `${SHOTS}webgl.png` });
      await page.evaluate(() => {
        for (const context of (window as unknown as { contexts: WebGL2RenderingContext[] }).contexts) context.getExtension('WEBGL_lose_context')?.loseContext();
      });
      await until(page, (text) => text.includes('\ndrawn'));
      await type(page, 'exit\n');
    });
  });

  test('is watched by another browser, which types nothing', async () => {
    const id = tow('run', '-d', '-t', '.', '--', 'sh', '-c', 'echo watched 4711; read line; echo "got $line"; sleep 1000').trim();
    await withPage(async (page) => {
      const row = page.getByRole('listitem').filter({ hasText: '4711' }).first();
      await row.getByRole('button', { name: /Actions/ }).click();
      await page.getByRole('menuitem', { name: 'Watch only' }).click();
      await front(page).getByText('Watching').waitFor();
      await until(page, (text) => text.includes('watched 4711'));
      await withPage(async (other) => {
        await other.getByRole('button', { name: /4711/ }).first().click();
        await ready(other);
        await front(other).getByText('+1 here').waitFor();
        await type(page, 'no\n');
        await type(other, 'yes\n');
        await until(other, (text) => text.includes('got yes'));
        await other.screenshot({ path: `${SHOTS}watched.png` });
      });
      await until(page, (text) => text.includes('got yes'));
      tow('kill', '.', id, '-s', 'KILL');
      await front(page).getByText('Ended by KILL').first().waitFor();
    });
  });

  test('takes what an input method composes', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'echo ');
      const keyboard = await page.context().newCDPSession(page);
      await keyboard.send('Input.imeSetComposition', { text: 'zhong', selectionStart: 5, selectionEnd: 5 });
      await keyboard.send('Input.imeSetComposition', { text: '中', selectionStart: 1, selectionEnd: 1 });
      await keyboard.send('Input.insertText', { text: '中文' });
      await page.waitForTimeout(200);
      await page.keyboard.press('Enter');
      await until(page, (text) => /\n中文/.test(text));
      await type(page, 'exit\n');
    });
  });

  test('writes to the clipboard only after it was allowed', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await page.evaluate(() => navigator.clipboard.writeText('mine'));
      const copy = `printf '\\033]52;c;%s\\a' $(printf stolen | base64)\n`;
      await type(page, copy);
      await page.getByText('wants to put text into your clipboard').waitFor();
      expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('mine');
      await page.getByRole('button', { name: 'Allow', exact: true }).click();
      await page.waitForFunction(async () => (await navigator.clipboard.readText()) === 'stolen');
      await type(page, 'exit\n');
    });
  });

  test('decodes and encodes what is not UTF-8', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await front(page).getByRole('button', { name: 'Terminal options' }).click();
      await page.getByRole('menuitem', { name: 'Terminal settings…' }).click();
      await page.getByLabel('Character encoding').selectOption('gbk');
      await page.getByRole('button', { name: 'Done' }).click();
      await type(page, "stty -echo; clear; printf '\\326\\320\\316\\304\\n'; read x; printf '%s' \"$x\" | od -An -tx1; stty echo\n");
      await until(page, (text) => text.includes('中文'));
      await type(page, '中\n');
      await until(page, (text) => text.includes('d6 d0'));
      await type(page, 'exit\n');
    });
  });

  test('is searched', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, 'clear; seq 100 130\n');
      await until(page, (text) => text.includes('130'));
      await page.keyboard.press('Control+Shift+F');
      await page.getByPlaceholder('Search').fill('11');
      await page.getByText(/of 11/).waitFor();
      await page.screenshot({ path: `${SHOTS}search.png` });
      await page.keyboard.press('Escape');
      await type(page, 'exit\n');
    });
  });
});

describe('sessions', () => {
  test('are ended, asked about first, and removed with their log', async () => {
    const secs = String(100_000 + (Date.now() % 100_000));
    const id = tow('run', '-d', '.', '--', 'sh', '-c', 'echo a line of the log; exec sleep "$1"', 'sh', secs).trim();
    await withPage(async (page) => {
      const row = page.getByRole('listitem').filter({ hasText: secs }).first();
      await row.getByRole('button').first().click();
      await until(page, (text) => text.includes('a line of the log'));
      await row.getByRole('button', { name: /Actions/ }).click();
      await page.getByRole('menuitem', { name: 'Kill…' }).click();
      await page.screenshot({ path: `${SHOTS}kill.png` });
      await page.getByRole('dialog').getByRole('button', { name: 'Kill' }).click();
      await front(page).getByText('Ended by KILL').first().waitFor();
      await row.getByText('killed by KILL').waitFor();
      await page.keyboard.press('Control+Shift+L');
      await page.keyboard.press('Delete');
      await row.getByRole('button').first().click();
      await until(page, (text) => text.includes('a line of the log'));
      await front(page).getByText('The log ends here').first().waitFor();
      await row.getByRole('button', { name: /Actions/ }).click();
      await page.getByRole('menuitem', { name: 'Remove…' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
      await row.waitFor({ state: 'detached' });
      expect(tow('sessions', '.')).not.toContain(id);
    });
  });
});

describe('a share', () => {
  test('of a session shows that terminal and nothing else', async () => {
    const id = tow('run', '-d', '-t', '.', '--', 'sh', '-c', 'echo shared; exec sleep 1000').trim();
    await withPage(async (page) => {
      await page.route('**/api/v1/me', async (route) => {
        const answer = await route.fetch();
        await route.fulfill({ json: { ...((await answer.json()) as object), rights: ['watch'], share: { session: id } } });
      });
      await page.reload();
      await until(page, (text) => text.includes('shared'));
      expect(await front(page).getByText('Watching').count()).toBe(1);
      expect(await page.getByRole('button', { name: 'New terminal' }).count()).toBe(0);
      expect(await page.getByRole('tab').count()).toBe(1);
      await page.screenshot({ path: `${SHOTS}share.png` });
    });
    tow('kill', '.', id, '-s', 'KILL');
  });
});

describe('the page', () => {
  const COLOURS = "clear; for b in 3 9; do for i in 1 2 3 4 5 6; do printf '\\033[%s%sm%s ' $b $i colour; done; echo; done; ls -ld --color=always /* | head -12; echo ready\n";

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`is ${colorScheme} where the system is`, async () => {
      await withPage(async (page) => {
        await openShell(page);
        await type(page, COLOURS);
        await until(page, (text) => text.includes('\nready'));
        await page.screenshot({ path: `${SHOTS}${colorScheme}.png` });
        const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        expect(Number(/\d+/.exec(background)?.[0]) > 128).toBe(colorScheme === 'light');
        await type(page, 'exit\n');
      }, { colorScheme });
    });
  }

  test('is usable on a phone, with the keys that it lacks', async () => {
    await withPage(async (page) => {
      await openShell(page);
      await type(page, COLOURS);
      await until(page, (text) => text.includes('\nready'));
      await page.screenshot({ path: `${SHOTS}phone.png` });
      await type(page, 'sleep 1000\n');
      await page.getByRole('button', { name: 'Ctrl', exact: true }).tap();
      await page.keyboard.insertText('c');
      await until(page, (text) => text.includes('^C'));
      await page.getByRole('button', { name: 'Up', exact: true }).tap();
      await until(page, (text) => /\$ sleep 1000$/.test(text));
      await page.getByRole('button', { name: 'Ctrl', exact: true }).tap();
      await page.keyboard.insertText('c');
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
      await page.getByRole('navigation').getByRole('button', { name: 'Sessions' }).tap();
      await page.getByRole('heading', { name: 'Running' }).waitFor();
      await page.screenshot({ path: `${SHOTS}phone-sessions.png` });
      await page.getByRole('navigation').getByRole('button', { name: 'Terminal' }).tap();
      await type(page, 'exit\n');
    }, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  });

  test('speaks Chinese where the browser does, and switches', async () => {
    await withPage(async (page) => {
      await page.getByRole('button', { name: '新建终端' }).first().waitFor();
      await page.screenshot({ path: `${SHOTS}chinese.png` });
      await page.getByRole('button', { name: '页面菜单' }).click();
      await page.getByRole('menuitem', { name: 'English' }).click();
      await page.getByRole('button', { name: 'New terminal' }).first().waitFor();
    }, { locale: 'zh-CN' });
  });

  test('is used with the keyboard alone', async () => {
    await withPage(async (page) => {
      await page.getByRole('button', { name: 'New terminal' }).first().focus();
      await page.keyboard.press('Enter');
      await ready(page);
      await page.keyboard.press('Control+Shift+L');
      expect(await page.evaluate(() => document.activeElement?.getAttribute('role'))).toBe('tab');
      await page.keyboard.press('Delete');
      await page.getByText('goes on without a viewer').waitFor();
      await page.getByRole('button', { name: 'End it' }).press('Enter');
      await page.getByRole('button', { name: 'Page menu' }).press('Enter');
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('Enter');
      expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
    });
  });
});

/** A machine that does other work at the same time is slow to draw. */
const LOADED = process.env.TOW_LOADED !== undefined;
