import { randomBytes } from 'node:crypto'
import { createListeners } from './local.ts'
import type { Ask, Client } from './redis-connection.ts'
import { busOf, PREFIX, REPLICAS } from './redis-scripts.ts'
import type { Bus, BusMessage } from './store.ts'

const BEAT_MS = 250
/** After a beat of its own that it heard, a process believes what it keeps for so long. */
const LEASE_SECONDS = 1
const LEASE_MS = LEASE_SECONDS * 1000
/** Over the lease, for clocks that do not run equally fast. */
const MARGIN_MS = 100
/** A subscription that hears nothing for so long is made anew. */
const SILENCE_MS = 3 * LEASE_MS

/** Publishes within a script: its last two arguments in, who has to hear of it out; `undefined`: nothing happened. */
type Publish = (sender: string, message: string) => Promise<readonly string[] | undefined>

export interface RedisBus {
  readonly bus: Bus
  /** Resolves when every process has heard the message, or believes nothing any more. */
  tell(message: Exclude<BusMessage, { type: 'missed' | 'share.again' }>, publish: Publish): Promise<boolean>
  /** To the listeners of this process. */
  tellHere(message: BusMessage): void
  close(): Promise<void>
}

/**
 * The bus of several processes. Redis keeps no message for who is not connected, so each process sends a beat through
 * Redis to itself: having heard it, it has heard all that Redis published before, and holds a lease. Whoever publishes
 * waits for every process that has a lease to acknowledge, or for the lease to end. A beat is a write, so that no process
 * holds a lease from a server that must not write any more.
 *
 * @throws {Error} when the first beat cannot be sent or the subscription cannot be made
 */
export async function openRedisBus(client: Client, subscriber: Client, ask: Ask, db: number): Promise<RedisBus> {
  const self = randomBytes(8).toString('hex')
  const [channel, acknowledgements] = [busOf(db), (sender: string) => `${PREFIX}${db} heard ${sender}`]
  const { tell: deliver, subscribe } = createListeners()
  /** Of each message of ours whose acknowledgements are awaited: what to do with one. */
  const waiting = new Map<string, (replica: string) => void>()
  /** Of each message of ours that did not come back yet: what to do when it does. */
  const own = new Map<string, () => void>()
  let told = 0
  let heard: number | undefined
  let whole = false
  let leaseEnds = 0
  let echoAt = Number.NEGATIVE_INFINITY
  let listeningSince = performance.now()
  let beating = false

  function lose(): void {
    const before = whole
    whole = false
    own.clear()
    if (before) deliver({ type: 'missed' })
  }

  function hear(text: string): void {
    const [, number, sender = '', message = ''] = /^(\d+) (\w+) (\{.*\})$/s.exec(text) ?? []
    const told = parsed(message)
    // Somebody else has published that; nothing is known for certain until we have heard ourselves again.
    if (told === undefined) return void lose()
    if (heard !== undefined && Number(number) !== heard + 1) lose()
    heard = Number(number)
    const { beat, lease, id, ...rest } = told
    if (sender !== self) {
      if (id === undefined) return
      if (rest.type !== undefined) deliver(rest)
      client.publish(acknowledgements(sender), `${id} ${self}`).catch(() => {})
    } else if (beat !== undefined) echo(beat, lease)
    else ownReturned(id)
  }

  /** Also when the answer to its script was lost: it happened. */
  function ownReturned(id: string): void {
    own.get(id)?.()
    own.delete(id)
  }

  /** @param sentAt by the clock of this process, which never jumps */
  function echo(sentAt: number, lease: boolean): void {
    echoAt = performance.now()
    if (!lease) return void beatOnce().catch(() => {})
    whole = true
    leaseEnds = sentAt + LEASE_MS
  }

  /** Who does not hear itself asks for no lease, so that nobody waits for it. */
  async function beatOnce(): Promise<void> {
    if (beating) return
    beating = true
    try {
      const sentAt = performance.now()
      const lease = sentAt - echoAt < LEASE_MS
      await client.beat(self, JSON.stringify({ beat: sentAt, lease }), lease ? LEASE_SECONDS : '')
    } finally {
      beating = false
    }
  }

  /** Until each of them has heard, or has lost its lease. */
  function acknowledged(replicas: readonly string[], heardBy: Set<string>, id: string): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LEASE_MS + MARGIN_MS)
      const look = () => {
        if (!replicas.every((replica) => heardBy.has(replica))) return
        clearTimeout(timer)
        resolve()
      }
      waiting.set(id, (replica) => {
        heardBy.add(replica)
        look()
      })
      look()
    })
  }

  /** @param cameBack called when our own message has come back to us */
  async function send(message: object, publish: Publish, heardBy: Set<string>, cameBack: (id: string) => void) {
    told += 1
    const id = String(told)
    waiting.set(id, (replica) => void heardBy.add(replica))
    own.set(id, () => cameBack(id))
    try {
      const replicas = await publish(self, JSON.stringify({ id, ...message }))
      if (replicas === undefined) return !own.delete(id)
      await acknowledged(replicas, heardBy, id)
      return true
    } catch (error) {
      // Refused by Redis: it did not happen. Without an answer it may have.
      if ((error as Error).name === 'ReplyError') own.delete(id)
      throw error
    } finally {
      waiting.delete(id)
    }
  }

  const listen = () => subscriber.subscribe(channel, acknowledgements(self))
  const renew = () => {
    listeningSince = performance.now()
    listen().catch(() => subscriber.disconnect(true))
  }
  subscriber.on('message', (on: string, text: string) => {
    if (on === channel) return hear(text)
    const [id = '', replica = ''] = text.split(' ')
    if (on === acknowledgements(self)) waiting.get(id)?.(replica)
  })
  subscriber.on('close', () => {
    lose()
    heard = undefined
  })
  await listen()
  subscriber.on('ready', renew)
  await beatOnce()
  const timer = setInterval(() => {
    beatOnce().catch(() => {})
    const silentSince = Math.max(echoAt, listeningSince)
    if (subscriber.status === 'ready' && performance.now() - silentSince > SILENCE_MS) subscriber.disconnect(true)
  }, BEAT_MS)

  return {
    bus: {
      hearing: () => whole && performance.now() < leaseEnds,
      subscribe,
      // What was told before comes before this, also to us.
      settled: () =>
        ask(async () => {
          const publish: Publish = async (sender, message) => (await client.beat(sender, message, '')) as string[]
          await send({}, publish, new Set(), (id) => waiting.get(id)?.(self))
        }),
    },

    tellHere: deliver,

    async tell(message, publish) {
      let delivered = false
      const deliverOnce = () => {
        if (!delivered) deliver(message)
        delivered = true
      }
      const published: Publish = async (...args) => {
        const replicas = await publish(...args)
        if (replicas !== undefined) deliverOnce()
        return replicas
      }
      return await send(message, published, new Set([self]), deliverOnce)
    },

    async close() {
      clearInterval(timer)
      await client.zrem(REPLICAS, self).catch(() => {})
    },
  }
}

function parsed(message: string) {
  try {
    return JSON.parse(message)
  } catch {
    return undefined
  }
}
