// What the browser tests run against: a node that is there (TOW_URL, and TOW_LINK to sign in to it), seen through a wire that can be cut.

import { execFileSync } from 'node:child_process';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core';

export const SHOTS = new URL('./shots/', import.meta.url).pathname;

/** TCP to the node, which a test cuts. */
export class Wire {
  readonly #open = new Set<Socket>();
  readonly #server: Server;
  isDown = false;

  private constructor(host: string, port: number) {
    this.#server = createServer((near) => {
      if (this.isDown) return near.resetAndDestroy();
      const far = connect(port, host);
      for (const [socket, other] of [[near, far], [far, near]] as const) {
        this.#open.add(socket);
        socket.on('error', () => {}).on('close', () => {
          this.#open.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
  }

  static async to(url: URL): Promise<{ wire: Wire; url: string }> {
    const wire = new Wire(url.hostname.replace(/^\[|\]$/g, ''), Number(url.port || (url.protocol === 'https:' ? 443 : 80)));
    await new Promise<void>((done) => wire.#server.listen(0, '127.0.0.1', done));
    const address = wire.#server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no address');
    return { wire, url: `${url.protocol}//127.0.0.1:${address.port}/` };
  }

  /** Every connection ends without a word. */
  cut(): void {
    for (const socket of this.#open) socket.resetAndDestroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

/** A link signs in once: the files of tests share it. */
interface SignedIn {
  state: Awaited<ReturnType<BrowserContext['storageState']>>;
}

export class Machine {
  private constructor(
    readonly wire: Wire,
    readonly url: string,
    readonly browser: Browser,
    readonly signedIn: SignedIn['state'],
    /** What the address bar showed once the page had begun. */
    readonly addressAfter: string,
  ) {}

  static async begin(): Promise<Machine> {
    const { TOW_URL, TOW_LINK } = process.env;
    if (!TOW_URL || !TOW_LINK) throw new Error('TOW_URL and TOW_LINK name the node and the link to sign in with');
    const { wire, url } = await Wire.to(new URL(TOW_URL));
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
    const before = (globalThis as { towSignedIn?: SignedIn }).towSignedIn;
    if (before) {
      // What belonged to the port of that wire belongs to the port of this one.
      const origins = before.state.origins.map((one) => ({ ...one, origin: url.replace(/\/$/, '') }));
      return new Machine(wire, url, browser, { ...before.state, origins }, url);
    }
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.goto(url + TOW_LINK.slice(TOW_LINK.indexOf('#')));
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.waitForFunction(() => localStorage.getItem('tow-token') !== null);
    const machine = new Machine(wire, url, browser, await context.storageState(), page.url());
    (globalThis as { towSignedIn?: SignedIn }).towSignedIn = { state: machine.signedIn };
    await context.close();
    return machine;
  }

  /** A page of the browser that is signed in. What goes wrong in it is an error of the test. */
  async page(options: BrowserContextOptions = {}): Promise<{ page: Page; problems: string[] }> {
    const context = await this.browser.newContext({
      storageState: this.signedIn,
      viewport: { width: 1200, height: 760 },
      locale: 'en-US',
      ignoreHTTPSErrors: true,
      permissions: ['clipboard-read', 'clipboard-write'],
      ...options,
    });
    const page = await context.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => {
      if (/Content Security Policy|TrustedHTML/.test(message.text())) problems.push(message.text());
    });
    await page.goto(this.url);
    return { page, problems };
  }

  async end(): Promise<void> {
    await this.browser.close();
    this.wire.close();
  }
}

/** Runs `tow` (TOW_BIN) on the machine itself. */
export function tow(...args: string[]): string {
  return execFileSync(process.env.TOW_BIN ?? 'tow', args, { encoding: 'utf8' });
}

/** Opens a new shell and waits for its prompt. */
export async function openShell(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'New terminal' }).first().click();
  await ready(page);
  await type(page, "PS1='$ '; clear\n");
  await until(page, (text) => text.trim() === '$');
}

/** Waits until the terminal in front is there. */
export async function ready(page: Page): Promise<void> {
  await front(page).getByText('Connected').waitFor();
  await front(page).locator('textarea').focus();
}

/** The terminal that is seen. */
export function front(page: Page) {
  return page.locator('section.pane:not(.away)');
}

export async function type(page: Page, text: string): Promise<void> {
  await front(page).locator('textarea').focus();
  await page.keyboard.insertText(text.replaceAll('\n', ''));
  if (text.endsWith('\n')) await page.keyboard.press('Enter');
}

/** What the terminal in front shows. */
export async function shown(page: Page): Promise<string> {
  return (await front(page).locator('.xterm-rows > div').allTextContents()).map((line) => line.replaceAll('\u00a0', ' ').trimEnd()).join('\n').trim();
}

/** Waits until what is shown is as it should be, and returns it. */
export async function until(page: Page, isRight: (text: string) => boolean, ms = 30_000): Promise<string> {
  const end = Date.now() + ms;
  for (;;) {
    const text = await shown(page);
    if (isRight(text)) return text;
    if (Date.now() > end) throw new Error(`the terminal never showed it, but:\n${text}`);
    await page.waitForTimeout(50);
  }
}

/** All that the terminal has, also what was scrolled out of sight. */
export async function everything(page: Page): Promise<string> {
  const menu = front(page).getByRole('button', { name: 'Terminal options' });
  await menu.click();
  await page.getByRole('menuitem', { name: 'Select all' }).click();
  await menu.click();
  await page.getByRole('menuitem', { name: 'Copy' }).click();
  await page.waitForTimeout(300);
  return (await page.evaluate(() => navigator.clipboard.readText())).replaceAll('\r', '');
}

/** Puts a text into the terminal as the browser does it when somebody pastes. */
export async function paste(page: Page, text: string): Promise<void> {
  await front(page).locator('textarea').evaluate((area, data) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', data);
    area.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
  }, text);
}
