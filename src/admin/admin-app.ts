import express, { type Express } from 'express'
import helmet from 'helmet'
import type { Registry } from 'prom-client'

/** One readiness check: resolves when all is well, rejects with what is wrong. */
export type Check = () => Promise<void>

/** Health, readiness and metrics; never on the public listener. */
export function createAdminApp({
  checks,
  metrics,
}: {
  checks: Readonly<Record<string, Check>>
  metrics: Registry
}): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use(helmet())

  app.get('/healthz', (_req, res) => void res.json({ status: 'ok' }))

  app.get('/readyz', async (_req, res) => {
    const results = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => [name, await outcome(check)] as const),
    )
    const ready = results.every(([, result]) => result === 'ok')
    res.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks: Object.fromEntries(results) })
  })

  app.get('/metrics', async (_req, res) => {
    res.type(metrics.contentType).send(await metrics.metrics())
  })
  return app
}

async function outcome(check: Check): Promise<string> {
  try {
    await check()
    return 'ok'
  } catch (error) {
    return (error as Error).message
  }
}
