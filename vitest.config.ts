import { defineConfig } from 'vitest/config'

/** `tests` is what `npm test` runs; the others are slower, and `interop` and `e2e` install the real peers they need. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'tests',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/interop/**', 'test/fuzz/**'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      { test: { name: 'fuzz', include: ['test/fuzz/**/*.test.ts'] } },
      {
        test: {
          name: 'interop',
          globalSetup: ['test/interop/report.ts'],
          include: ['test/interop/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
