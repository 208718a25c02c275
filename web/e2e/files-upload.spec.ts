import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { drop, eventually, grid, openDir, Place, row, sha256 } from './files';
import { Machine, SHOTS } from './machine';

let machine: Machine;
let place: Place;
/** What is sent: beside the place, on this machine too. */
let here: Place;
mkdirSync(SHOTS, { recursive: true });
beforeAll(async () => void (machine = await Machine.begin()));
afterAll(() => machine.end());
beforeEach(() => {
  place = new Place();
  here = new Place();
});
afterEach(() => {
  place.remove();
  here.remove();
});

async function withPlace(use: (page: Page) => Promise<void>, options: Parameters<Machine['page']>[0] = {}): Promise<void> {
  const { page, problems } = await machine.page(options);
  try {
    await openDir(page, place.dir);
    await use(page);
    expect(problems).toEqual([]);
  } finally {
    machine.wire.isDown = false;
    await page.context().close();
  }
}

/** Makes a file that no part of which is like another. */
function big(name: string, mib: number): string {
  const path = here.path(name);
  for (let n = 0; n < mib; n++) appendFileSync(path, randomBytes(1 << 20));
  return path;
}

/** Slows the page's uploads down, so that a test can come in between. */
async function slow(page: Page, bytesPerSec: number): Promise<(rate: number) => Promise<void>> {
  const client = await page.context().newCDPSession(page);
  const set = async (rate: number) => void (await client.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: rate }));
  await client.send('Network.enable');
  await set(bytesPerSec);
  return set;
}

const percent = async (page: Page) => Number(await page.getByRole('progressbar', { name: 'Uploads' }).getAttribute('aria-valuenow'));

/** What the node has, by the names of partial files and of files. */
const there = () => readdirSync(place.dir);

describe('an upload', () => {
  test('of a folder of 500 files in nested directories arrives whole', { timeout: 240_000 }, async () => {
    const sent = new Map<string, string>();
    for (let n = 0; n < 500; n++) {
      const dir = `folder/part ${n % 7}/${'abc'[n % 3]}`;
      mkdirSync(here.path(dir), { recursive: true });
      const content = randomBytes(n % 50 === 0 ? 200_000 : n);
      writeFileSync(here.path(dir, `file ${n}.bin`), content);
      sent.set(`${dir}/file ${n}.bin`, content.toString('base64'));
    }
    mkdirSync(here.path('folder/empty'));
    utimesSync(here.path('folder/part 0/a/file 0.bin'), 1_600_000_000, 1_600_000_000);
    await withPlace(async (page) => {
      await drop(page, [here.path('folder')], grid(page));
      await page.getByText('500 uploaded').waitFor({ timeout: 180_000 });
      await page.screenshot({ path: `${SHOTS}upload-folder.png` });
      for (const [name, content] of sent) expect(readFileSync(place.path(name)).toString('base64') === content, name).toBe(true);
      expect(existsSync(place.path('folder/empty'))).toBe(true);
      expect(statSync(place.path('folder/part 0/a/file 0.bin')).mtimeMs).toBe(1_600_000_000_000);
      await row(page, 'folder').waitFor();
    });
  });

  test('by a folder picker keeps the directories', async () => {
    mkdirSync(here.path('picked/sub'), { recursive: true });
    writeFileSync(here.path('picked/a'), 'a');
    writeFileSync(here.path('picked/sub/b'), '');
    await withPlace(async (page) => {
      await page.locator('.pick-folder').setInputFiles(here.path('picked'));
      await page.getByText('2 uploaded').waitFor();
      expect(readFileSync(place.path('picked/a'), 'utf8')).toBe('a');
      expect(statSync(place.path('picked/sub/b')).size).toBe(0);
    });
  });

  test('asks where a name is taken', async () => {
    for (const name of ['a.txt', 'b.txt', 'c.txt', 'd.txt']) {
      writeFileSync(place.path(name), `old ${name}`);
      writeFileSync(here.path(name), `new ${name}`);
    }
    await withPlace(async (page) => {
      await page.locator('.pick-files').setInputFiles(['a.txt', 'b.txt', 'c.txt', 'd.txt'].map((name) => here.path(name)));
      const dialog = page.getByRole('dialog', { name: /is there already/ });
      await dialog.waitFor();
      await page.screenshot({ path: `${SHOTS}upload-taken.png` });
      const answered: string[] = [];
      for (const action of ['Replace', 'Skip']) {
        answered.push(/“(.*)”/.exec((await dialog.getByRole('heading').textContent()) ?? '')?.[1] ?? '');
        await dialog.getByRole('button', { name: action }).click();
        await eventually(async () => !(await dialog.getByRole('heading').textContent())?.includes(answered.at(-1) ?? ''), 'the next question');
      }
      await dialog.getByLabel('Do this for all').check();
      await dialog.getByRole('button', { name: 'Keep both' }).click();
      await page.getByText('3 uploaded').waitFor();
      const [replaced, skipped] = answered as [string, string];
      for (const name of ['a.txt', 'b.txt', 'c.txt', 'd.txt']) expect(readFileSync(place.path(name), 'utf8')).toBe(name === replaced ? `new ${name}` : `old ${name}`);
      const kept = there().filter((name) => name.endsWith('(2).txt'));
      expect(kept.length).toBe(2);
      expect(kept).not.toContain(skipped.replace('.txt', ' (2).txt'));
      for (const name of kept) expect(readFileSync(place.path(name), 'utf8')).toBe(`new ${name.replace(' (2)', '')}`);
    });
  });

  test('of 300 MB that is cut and whose page is loaded anew goes on where it was, and is the same file', { timeout: 400_000 }, async () => {
    const path = big('large.bin', 300);
    const wanted = await sha256(path);
    await withPlace(async (page) => {
      let sent = 0;
      page.on('request', (request) => {
        if (request.method() === 'POST' && request.url().endsWith('/tus/')) sent += 1;
      });
      let pace = await slow(page, 30 << 20);
      await page.locator('.pick-files').setInputFiles(path);
      await eventually(async () => (await percent(page)) >= 15, 'a part sent');
      await page.screenshot({ path: `${SHOTS}upload-going.png` });
      await page.context().setOffline(true);
      // Offline, the browser begins nothing new; what goes on is cut here.
      machine.wire.cut();
      await page.getByText('Interrupted; trying again').waitFor();
      await page.screenshot({ path: `${SHOTS}upload-cut.png` });
      expect(await percent(page)).toBeLessThan(90);
      await page.context().setOffline(false);
      await eventually(async () => (await percent(page)) >= 30, 'going on');
      machine.wire.cut();
      await eventually(async () => (await percent(page)) >= 45, 'going on after a cut');
      await page.getByRole('button', { name: 'Pause', exact: true }).click();
      await page.getByText(/^Paused · /).waitFor();
      await page.getByRole('button', { name: 'Continue', exact: true }).click();
      await eventually(async () => (await percent(page)) >= 55, 'going on after a pause');

      page.on('dialog', (dialog) => void dialog.accept());
      await page.reload();
      await page.getByText('Interrupted when the page was closed: 1').waitFor();
      await page.screenshot({ path: `${SHOTS}upload-lost.png` });
      expect(existsSync(place.path('large.bin'))).toBe(false);
      pace = await slow(page, 40 << 20);
      const heads: number[] = [];
      page.on('response', (response) => {
        if (response.request().method() === 'HEAD') heads.push(Number(response.headers()['upload-offset']));
      });
      await page.locator('.lost-files').setInputFiles(path);
      await eventually(() => heads.length > 0, 'asked where it stands');
      expect(heads[0]).toBeGreaterThan(100 << 20);
      await pace(-1);
      await page.getByText('1 uploaded').waitFor({ timeout: 200_000 });
      expect(await sha256(place.path('large.bin'))).toBe(wanted);
      expect(sent).toBe(1);
      expect(there()).toEqual(['large.bin']);
    });
  });

  test('whose file the browser may read again goes on by itself', { timeout: 120_000 }, async () => {
    await withPlace(async (page) => {
      // A file of the origin's own disk has a handle like that of a picker, and needs no person to allow it.
      await page.evaluate(async () => {
        const root = await navigator.storage.getDirectory();
        const handle = await root.getFileHandle('handled.bin', { create: true });
        const out = await handle.createWritable();
        const block = new Uint8Array(1 << 20).map((_, at) => at * 7);
        for (let n = 0; n < 60; n++) await out.write(block);
        await out.close();
        (window as { showOpenFilePicker?: unknown }).showOpenFilePicker = () => Promise.resolve([handle]);
      });
      await slow(page, 8 << 20);
      await page.getByRole('button', { name: 'Upload', exact: true }).click();
      await page.getByRole('menuitem', { name: 'Upload files' }).click();
      await eventually(async () => (await percent(page)) >= 20, 'a part sent');
      page.on('dialog', (dialog) => void dialog.accept());
      await page.reload();
      await page.getByText('1 uploaded').waitFor({ timeout: 90_000 });
      const block = Buffer.from(new Uint8Array(1 << 20).map((_, at) => at * 7));
      const got = readFileSync(place.path('handled.bin'));
      expect(got.length).toBe(60 << 20);
      for (let n = 0; n < 60; n++) expect(got.subarray(n << 20, (n + 1) << 20).equals(block)).toBe(true);
    });
  });

  test('that is cancelled leaves nothing; one that goes on warns who leaves', { timeout: 120_000 }, async () => {
    const path = big('gone.bin', 40);
    await withPlace(async (page) => {
      await slow(page, 4 << 20);
      await page.locator('.pick-files').setInputFiles(path);
      await eventually(async () => (await percent(page)) >= 10, 'a part sent');
      await grid(page).click();
      const asked = page.waitForEvent('dialog');
      await page.close({ runBeforeUnload: true });
      const dialog = await asked;
      expect(dialog.type()).toBe('beforeunload');
      await dialog.dismiss();
      await page.getByRole('button', { name: 'Cancel', exact: true }).click();
      await page.getByRole('progressbar').waitFor({ state: 'detached' });
      await eventually(() => there().length === 0, 'no partial left', 20_000);
    });
  });

  test('of very much holds no content in memory', { timeout: 300_000 }, async () => {
    const path = here.path('huge.bin');
    // Holes on this disk, bytes on the wire.
    writeFileSync(path, '');
    const { truncateSync } = await import('node:fs');
    truncateSync(path, 1 << 30);
    await withPlace(async (page) => {
      const client = await page.context().newCDPSession(page);
      await client.send('Performance.enable');
      await page.locator('.pick-files').setInputFiles(path);
      let most = 0;
      await eventually(async () => {
        const { metrics } = await client.send('Performance.getMetrics');
        most = Math.max(most, metrics.find(({ name }) => name === 'JSHeapUsedSize')?.value ?? 0);
        return (await page.getByText('1 uploaded').count()) > 0;
      }, 'all sent', 240_000);
      expect(most).toBeLessThan(200 << 20);
      expect(statSync(place.path('huge.bin')).size).toBe(1 << 30);
    });
  });
});
