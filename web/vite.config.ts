import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

/** Writes NAME.br and NAME.gz beside what is worth it: the node serves them as they are. */
function compressed(): Plugin {
  let dir = '';
  return {
    name: 'compressed',
    apply: 'build',
    configResolved: (config) => void (dir = config.build.outDir),
    async closeBundle() {
      for (const name of await readdir(dir, { recursive: true })) {
        if (!/\.(html|js|css|svg|json|webmanifest)$/.test(name)) continue;
        const path = join(dir, name);
        const content = await readFile(path);
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
        const [br, gz] = await Promise.all([promisify(brotliCompress)(content, { params }), promisify(gzip)(content, { level: 9 })]);
        if (br.length < content.length) await writeFile(`${path}.br`, br);
        if (gz.length < content.length) await writeFile(`${path}.gz`, gz);
      }
    },
  };
}

/** With `npx vite`: the node that answers what the page asks. */
const node = process.env.TOW_URL;

export default defineConfig({
  plugins: [svelte(), compressed()],
  build: {
    target: ['chrome123', 'firefox120', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    reportCompressedSize: false,
  },
  server: { proxy: node ? Object.fromEntries(['/api', '/tus', '/dav'].map((path) => [path, { target: node, ws: true, secure: false }])) : {} },
});
