import { Redis, type RedisOptions } from 'ioredis'
import { unavailable } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { type Scripts, scriptsOf } from './redis-scripts.ts'

/** Where Redis is: `store` of the configuration, parsed. */
export interface RedisAddress {
  readonly tls: boolean
  /** Of the server, or of the Sentinels that know where it is. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[]
  /** What the Sentinels call the server; `undefined`: there are no Sentinels. */
  readonly master: string | undefined
  readonly db: number
  readonly username: string | undefined
  readonly password: Secret | undefined
}

/** Redis answers within this time, or counts as gone. */
const ANSWER_MS = 2000
const RETRY_MAX_MS = 1000

type Scripted = { [Name in keyof Scripts]: (...args: (string | number)[]) => Promise<unknown> }
export type Client = Redis & Scripted

/** Runs what asks Redis; whatever goes wrong means that the store cannot answer. */
export type Ask = <T>(work: () => Promise<T>) => Promise<T>

/**
 * A client that is not connected yet. Once it has been, it connects again by itself. While it is not connected it fails at
 * once, and keeps nothing for later; an answer that takes longer than `ANSWER_MS` fails and ends the connection.
 */
export function createClient(address: RedisAddress): Client {
  const { tls, hosts, master, db, username, password } = address
  const [first = { host: 'localhost', port: 6379 }] = hosts
  const options: RedisOptions = {
    ...(master === undefined
      ? { ...first, ...(tls && { tls: {} }) }
      : { sentinels: [...hosts], name: master, sentinelPassword: password?.reveal(), failoverDetector: true }),
    db,
    username,
    password: password?.reveal(),
    scripts: scriptsOf(db),
    lazyConnect: true,
    connectTimeout: ANSWER_MS,
    commandTimeout: ANSWER_MS,
    socketTimeout: ANSWER_MS,
    sentinelCommandTimeout: ANSWER_MS,
    sentinelReconnectStrategy: () => RETRY_MAX_MS,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    disableClientInfo: true,
    retryStrategy: backOff,
    // One round; `keepConnected` begins the next.
    sentinelRetryStrategy: () => null,
    // The server that we knew is not the one that takes writes any more: ask again who is.
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
  }
  const client = new Redis(options) as Client
  // What fails is told by the operation that needed it.
  client.on('error', () => {})
  return client
}

function backOff(times: number): number {
  return Math.min(RETRY_MAX_MS, 50 * 2 ** Math.min(times - 1, 10)) + Math.random() * 100
}

/**
 * Connects for the first time.
 *
 * @throws {Error} why it cannot, once; it does not try again
 */
export async function connect(client: Client): Promise<void> {
  let cause: Error | undefined
  const remember = (error: Error) => {
    cause = error
  }
  client.on('error', remember)
  try {
    await client.connect()
  } catch (error) {
    client.disconnect()
    const { message } = cause ?? (error as Error)
    throw new Error(
      message.replace(/^All sentinels are unreachable.*/, 'no Sentinel answers, or none knows this master'),
    )
  } finally {
    client.off('error', remember)
  }
}

/**
 * Connects again when the client has given up: when no Sentinel answered, or the master changed while it was connecting.
 *
 * @returns the function that disconnects for good
 */
export function keepConnected(client: Client): () => void {
  let timer: NodeJS.Timeout | undefined
  const again = () => {
    timer = setTimeout(() => void client.connect().catch(() => {}), backOff(3))
  }
  client.on('end', again)
  return () => {
    client.off('end', again)
    clearTimeout(timer)
    client.disconnect()
  }
}

/** Every failure of a client as an answer of the store. Commands that failed carry their arguments, which stay here. */
export const asking: Ask = async (work) => {
  try {
    return await work()
  } catch (error) {
    const cause = new Error(`redis: ${(error as Error).message}`)
    throw unavailable('store_unavailable', 'The gateway’s store does not answer; please try again shortly.', { cause })
  }
}

/** Does not know the password. */
export function describeAddress({ tls, hosts, master, db }: RedisAddress): string {
  const scheme = master === undefined ? (tls ? 'rediss' : 'redis') : 'redis+sentinel'
  const places = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')
  return `${scheme}://${places}${master === undefined ? '' : `/${master}`}/${db}`
}
