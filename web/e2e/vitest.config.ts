import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['e2e/*.spec.ts'],
    root: new URL('..', import.meta.url).pathname,
    testTimeout: 90_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    isolate: false,
  },
});
