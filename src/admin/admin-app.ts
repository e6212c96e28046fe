import express, { type Express } from 'express'
import helmet from 'helmet'
import type { Registry } from 'prom-client'

/** One readiness check: resolves when all is well, rejects with what is wrong. */
type Check = () => Promise<void>

type Checks = Readonly<Record<string, Check>>

export interface AdminParts {
  readonly checks: Checks
  readonly metrics: Pick<Registry, 'contentType' | 'metrics'>
}

/** Health, readiness and metrics; never on the public listener. */
export function createAdminApp({ checks, metrics }: AdminParts): Express {
  const app = express()
  app.disable('x-powered-by')
  app.use(helmet())

  app.get('/healthz', (_req, res) => void res.json({ status: 'ok' }))

  app.get('/readyz', async (_req, res) => {
    const results = await outcomes(checks)
    const ready = Object.values(results).every((result) => result === 'ok')
    res.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks: results })
  })

  app.get('/metrics', async (_req, res) => {
    res.type(metrics.contentType).send(await metrics.metrics())
  })
  return app
}

/** Of each check `ok`, or what is wrong. */
export async function outcomes(checks: Checks): Promise<Record<string, string>> {
  const found = Object.entries(checks).map(async ([name, check]) => [name, await outcome(check)])
  return Object.fromEntries(await Promise.all(found))
}

async function outcome(check: Check): Promise<string> {
  try {
    await check()
    return 'ok'
  } catch (error) {
    return (error as Error).message
  }
}
