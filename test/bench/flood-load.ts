import { randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { forge } from '../unit/peer-tokens.ts'

/** Bad launches, for a process of its own. */
export interface Flood {
  readonly port: number
  readonly host: string
  readonly path: string
  readonly count: number
  readonly connections: number
  /** `undefined`: as fast as they are answered. */
  readonly perSecond: number | undefined
  /** Tokens of this issuer under random `kid`s; `undefined`: random opaque credentials. */
  readonly issuer: string | undefined
  /** Each from an address of its own, as a trusted proxy tells it. */
  readonly manyAddresses: boolean
}

export interface Flooded {
  readonly seconds: number
  /** How often each status was answered; 0: none at all. */
  readonly statuses: Readonly<Record<number, number>>
}

interface Launched {
  /** 0: there was no answer. */
  readonly status: number
  /** What the browser sends back from now on; `undefined`: what it has. */
  readonly cookie?: string | undefined
}

/** A launch from an address, by a browser that may have a cookie already. */
export function postLaunch(
  { port, host, path, agent }: Pick<Flood, 'port' | 'host' | 'path'> & { readonly agent: Agent },
  token: string,
  { from, cookie = '' }: { readonly from: string; readonly cookie?: string },
): Promise<Launched> {
  const body = new URLSearchParams({ access_token: token }).toString()
  const headers = {
    host,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': body.length,
    'x-forwarded-for': from,
    cookie,
  }
  return new Promise((resolve) => {
    const sent = request({ port, host: '127.0.0.1', path, method: 'POST', headers, agent }, (answer) =>
      answer.resume().once('end', () => {
        const [set] = answer.headers['set-cookie'] ?? []
        resolve({ status: answer.statusCode ?? 0, cookie: set?.split(';')[0] })
      }),
    )
    sent.once('error', () => resolve({ status: 0 })).end(body)
  })
}

function badToken(issuer: string | undefined): string {
  const random = randomBytes(24).toString('base64url')
  if (issuer === undefined) return random
  const exp = Math.floor(Date.now() / 1000) + 300
  const claims = { iss: issuer, sub: 'alice', aud: 'bob@bob.localhost', client_id: '1', exp }
  return forge({ alg: 'ES256', typ: 'at+jwt', kid: `${issuer}#${random}` }, claims, randomBytes(64))
}

const addressOf = (nth: number) => `10.${(nth >> 16) & 255}.${(nth >> 8) & 255}.${nth & 255}`

async function flood({
  count,
  connections,
  perSecond = Infinity,
  issuer,
  manyAddresses,
  ...target
}: Flood): Promise<Flooded> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const statuses: Record<number, number> = {}
  const startedAt = performance.now()
  let sent = 0
  const send = async () => {
    while (sent < count) {
      sent += 1
      await wait(Math.max(0, startedAt + (sent / perSecond) * 1000 - performance.now()))
      const from = addressOf(manyAddresses ? sent : 1)
      const { status } = await postLaunch({ ...target, agent }, badToken(issuer), { from })
      statuses[status] = (statuses[status] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: connections }, send))
  agent.destroy()
  return { seconds: (performance.now() - startedAt) / 1000, statuses }
}

process.on('message', async (job: Flood) => process.send?.(await flood(job)))
if (process.send !== undefined) process.once('disconnect', () => process.exit())
