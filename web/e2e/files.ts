// What the tests of the file manager share: a directory on the machine, and hands for the list.

import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright-core';

/** A directory of this machine, which is the one that is tested too (TOW_DIR says where; its root is the visitor's root). */
export class Place {
  readonly dir = mkdtempSync(join(process.env.TOW_DIR ?? tmpdir(), 'tow-page-'));

  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Opens a directory in the page. */
export async function openDir(page: Page, dir: string): Promise<void> {
  await page.evaluate((hash) => {
    location.hash = hash;
  }, `#/files${encodeURI(dir)}`);
  await page.reload();
  await grid(page).waitFor();
  await settled(page);
}

export const grid = (page: Page): Locator => page.getByRole('grid');

/** Waits until the list is read. */
export async function settled(page: Page): Promise<void> {
  await page.locator('[role=grid][aria-busy=false]').waitFor();
}

/** The row of a name, as it is shown. */
export const row = (page: Page, name: string): Locator => page.locator('[data-position]').filter({ has: page.locator('.text', { hasText: new RegExp(`^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}( → .*)?$`) }) });

/** The names that are seen, from top to bottom. */
export async function namesIn(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('[data-position]')]
      .sort((a, b) => Number(a.dataset.position) - Number(b.dataset.position))
      .map((one) => one.querySelector('.text')?.firstChild?.textContent ?? ''),
  );
}

/** Chooses from the context menu of a row. */
export async function choose(page: Page, name: string, item: string): Promise<void> {
  await row(page, name).click({ button: 'right' });
  await page.getByRole('menuitem', { name: item }).click();
}

/** Answers the question that is open. */
export async function answer(page: Page, text: string, action: string): Promise<void> {
  await page.getByRole('dialog').getByRole('textbox').fill(text);
  await page.getByRole('dialog').getByRole('button', { name: action }).click();
}

/** Waits until something holds. */
export async function eventually(holds: () => boolean | Promise<boolean>, what: string, ms = 60_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Drops files of this machine onto the page as a person does. */
export async function drop(page: Page, paths: string[], onto: Locator): Promise<void> {
  const box = await onto.boundingBox();
  if (!box) throw new Error('nothing to drop onto');
  const client = await page.context().newCDPSession(page);
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) await client.send('Input.dispatchDragEvent', { type, x, y, data });
  await client.detach();
}
