import type { Logger } from 'pino'
import { outcomes } from '../admin/admin-app.ts'
import type { ReadFile } from '../config/read.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { createLine, type Port } from '../core/line.ts'
import type { Tracing } from '../core/tracing.ts'
import { asStarted, startServing } from '../gateway.ts'

/** The text of every file that was read, by its path. */
export type Files = Readonly<Record<string, string>>

/** What a worker is told when it begins. */
export interface Beginning {
  readonly worker: number
  /** The files of the configuration as they were at the start: of what never changes. */
  readonly first: Files
  /** As they were when a configuration was taken last. */
  readonly latest: Files
}

interface Parts {
  /** The process that started this one. */
  readonly primary: Port
  readonly log: Logger
  readonly tracing: Tracing | undefined
  /** @throws {Error} when it is no configuration */
  readonly load: (readFile: ReadFile) => GatewayConfig
}

/**
 * One of several processes that serve. It takes its configuration from the process that started it and never from disk,
 * so that all serve the same. Resolves when it has been drained, or could not start; that process has been told why.
 */
export async function runWorker({ primary, log, tracing, load }: Parts): Promise<void> {
  const line = createLine(primary)
  line.handle({ beat() {} })
  const { worker, first, latest } = await line.ask<Beginning>('begin')
  let files = { ...first, ...latest }
  const readFile: ReadFile = (path) => readerOf(files)(path)

  const given = { log: log.child({ worker }), tracing, readFile, primary: line }
  const start = async () => startServing(asStarted(load(readerOf(latest)), load(readerOf(first))), given)
  const serving = await start().catch((error: Error) => line.ask<undefined>('failed', error.message))
  if (serving === undefined) return

  function reload(next: Files): void {
    const before = files
    files = { ...files, ...next }
    try {
      serving?.reload(load(readerOf(next)))
    } catch (error) {
      files = before
      throw error
    }
  }

  return new Promise((resolve) => {
    line.handle({
      ready: () => outcomes(serving.checks),
      metrics: () => serving.metrics.getMetricsAsJSON(),
      reload,
      async drain() {
        await serving.close()
        // Once the answer to this is on its way.
        setImmediate(resolve)
      },
    })
    void line.ask('serving', serving.url)
  })
}

function readerOf(files: Files): ReadFile {
  return (path) => {
    const text = files[path]
    if (text === undefined) throw Object.assign(new Error(`${path} was not read`), { code: 'ENOENT' })
    return text
  }
}
