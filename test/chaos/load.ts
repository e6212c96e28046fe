import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { SentShare } from '../../src/demo/sent-share.ts'
import type { Answered, Cluster } from './cluster.ts'
import { ANSWERED_BY } from './nginx.ts'
import type { Random } from './random.ts'
import type { Part, Troubles } from './troubles.ts'

const PEOPLE = ['bob@bob.localhost:8443', 'carol@carol.localhost:8443']
/** So many shares live at a time; the oldest goes when there are more. */
const SHARES = 30
const REQUESTERS = 4
const PAUSES = { launch: 250, request: 40, message: 100, again: 100 }
/** A WebSocket is cut before its revocation is answered; what was sent before may still be on its way back. */
const CUT_MS = 100

/** What is known of a share from the answers alone. */
interface Known {
  readonly share: SentShare
  /** Cookies of those who have it open. */
  readonly cookies: string[]
  /** When the first revocation was sent. */
  revokingSince: number
  /** When a revocation was answered. */
  revokedAt: number
}

interface Line {
  readonly socket: WebSocket
  readonly known: Known
}

interface Tally {
  shared: number
  launched: number
  answered: number
  echoed: number
  revoked: number
  reconnected: number
  /** Requests for a page that got no answer of a gateway. */
  dropped: number
  /** Launches and back-channel requests that got none: nobody may repeat them but who sent them. */
  unrepeatable: number
  /** Answered `503`. */
  unavailable: number
  /** Of each revocation: milliseconds until its answer. */
  readonly revocations: number[]
}

export type Load = ReturnType<typeof createLoad>

/**
 * People at work, and a model of what they may see: what was answered binds every answer to a request that was sent after
 * it. What breaks that is kept in `wrong`.
 */
export function createLoad(cluster: Cluster, { random, troubles }: { random: Random; troubles: Troubles }) {
  const { alice } = cluster
  const wrong: string[] = []
  const shares: Known[] = []
  const lines = new Set<Line>()
  const tally: Tally = {
    ...{ shared: 0, launched: 0, answered: 0, echoed: 0, revoked: 0, reconnected: 0, dropped: 0 },
    ...{ unrepeatable: 0, unavailable: 0, revocations: [] },
  }
  let going = true
  const since = performance.now()

  function report(what: string, known?: Known): void {
    const at = ((performance.now() - since) / 1000).toFixed(3)
    wrong.push(`${at} s: ${what}${known === undefined ? '' : ` (share ${known.share.providerId})`}`)
  }

  /** An answer that is nobody’s fault only while something is broken. */
  function failed(what: string, status: number, from: number, known?: Known, repeatable = true): void {
    const excuses: Partial<Record<number, readonly Part[]>> = { 503: ['store'] }
    const parts: readonly Part[] = excuses[status] ?? (repeatable ? ['replica'] : ['replica', 'restart'])
    if (status === 503) tally.unavailable += 1
    else if (repeatable) tally.dropped += 1
    else tally.unrepeatable += 1
    const possible = [0, 502, 503, 504].includes(status)
    const cut = status !== 503 && known !== undefined && isCutBy(known, from)
    if (!possible || (!cut && !troubles.between(parts, from, performance.now())))
      report(`${what} was answered ${status} without a reason`, known)
  }

  const live = () => shares.filter(({ revokingSince }) => revokingSince === Number.POSITIVE_INFINITY)
  const isRevoked = ({ revokedAt }: Known, at: number) => revokedAt < at
  /** A revocation cuts what is under way. */
  const isCutBy = (known: Known, from: number) => !isUntouched(known) && from <= known.revokedAt
  const isUntouched = ({ revokingSince }: Known) => revokingSince === Number.POSITIVE_INFINITY

  async function share(): Promise<void> {
    const from = performance.now()
    try {
      const made = await alice.share({ shareWith: random.of(PEOPLE) ?? '', notify: false })
      const [revokingSince, revokedAt] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
      const known = { share: made, cookies: [], revokingSince, revokedAt }
      shares.push(known)
      tally.shared += 1
      await open(known)
    } catch (error) {
      const status = Number(/did not take the share: (\d+)/.exec((error as Error).message)?.[1] ?? 0)
      failed('an announcement', status, from, undefined, false)
    }
  }

  /** A launch. @returns the status of its answer */
  async function open(known: Known): Promise<number> {
    const from = performance.now()
    const body = new URLSearchParams({ access_token: await alice.mintToken({ share: known.share }) }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const { status, headers: answered } = await cluster.ask('/notes/.ocm/open', { method: 'POST', headers, body })
    if (status === 303) {
      if (isRevoked(known, from)) report('a revoked share was opened', known)
      const [cookie = ''] = answered['set-cookie'] ?? []
      known.cookies.push(cookie.split(';')[0] ?? '')
      tally.launched += 1
      void hold(known, known.cookies.at(-1) ?? '')
    } else if (status === 0 || status >= 500) failed('a launch', status, from, known, false)
    else if (isUntouched(known)) report(`an acknowledged share was refused at its launch: ${status}`, known)
    return status
  }

  /** A request of somebody who has the share open, or had. @returns the status of its answer */
  async function visit(known: Known, cookie: string): Promise<number> {
    const from = performance.now()
    const answered = await cluster.ask('/notes/page', { headers: { cookie, accept: 'application/json' } })
    check(known, answered, from)
    return answered.status
  }

  function check(known: Known, { status, headers, body }: Answered, from: number): void {
    if (headers['set-cookie'] !== undefined && status !== 401) report(`a ${status} changed a cookie`, known)
    if (status === 200) {
      tally.answered += 1
      if (isRevoked(known, from)) {
        const late = (from - known.revokedAt).toFixed(1)
        report(`served ${late} ms after the revocation was answered, by ${headers[ANSWERED_BY]}`, known)
      }
      if (body !== ownerOf(known)) report(`reached the scope of another: ${body}`, known)
    } else if (status === 401) {
      if (isUntouched(known)) report(`a live session was unknown to ${headers[ANSWERED_BY]}`, known)
    } else failed('a request', status, from, known)
  }

  /** Keeps a WebSocket open for as long as the share lives. */
  async function hold(known: Known, cookie: string): Promise<void> {
    for (let count = 0; going && isUntouched(known); count += 1) {
      const from = performance.now()
      const status = await connectLine(known, cookie)
      if (status === 101) {
        if (count > 0) tally.reconnected += 1
      } else if (status === 401) {
        if (isUntouched(known)) report('a WebSocket of a live session was refused', known)
      } else failed('a handshake', status, from, known)
      await pause(PAUSES.again)
    }
  }

  /** @returns the status of the handshake, once the WebSocket is closed again */
  function connectLine(known: Known, cookie: string): Promise<number> {
    const { host, origin, port } = cluster
    const from = performance.now()
    const socket = new WebSocket(`ws://127.0.0.1:${port}/notes/live`, { headers: { host, cookie }, origin })
    const line = { socket, known }
    let status = 0
    socket.on('error', () => socket.terminate())
    socket.once('unexpected-response', (_req, res) => {
      status = res.statusCode ?? 0
      res.resume()
      socket.terminate()
    })
    socket.once('open', () => {
      status = 101
      lines.add(line)
      if (isRevoked(known, from)) report('a WebSocket of a revoked share was opened', known)
      void talk(socket)
    })
    socket.on('message', (data) => listen(known, String(data)))
    return new Promise((resolve) =>
      socket.once('close', () => {
        lines.delete(line)
        resolve(status)
      }),
    )
  }

  async function talk(socket: WebSocket): Promise<void> {
    while (socket.readyState === WebSocket.OPEN) {
      socket.send(String(performance.now()))
      await pause(PAUSES.message)
    }
  }

  /** While the way to the store was broken, open WebSockets may outlive a revocation; the gateway’s documentation says so. */
  function listen(known: Known, text: string): void {
    tally.echoed += 1
    const [, whose = '', sentAt] = /^(.*) ([\d.]+)$/.exec(text) ?? []
    if (whose !== ownerOf(known)) report(`a WebSocket reached the scope of another: ${text}`, known)
    const outlived = Number(sentAt) - known.revokedAt
    if (outlived > CUT_MS && !troubles.between(['store'], known.revokedAt - 2000, performance.now()))
      report(`a WebSocket went on ${outlived.toFixed(0)} ms after the revocation was answered`, known)
  }

  /** As a cloud does it: again until it is answered. */
  async function revoke(known: Known): Promise<void> {
    if (!isUntouched(known)) return
    known.revokingSince = performance.now()
    const body = { sender: alice.address, providerId: known.share.providerId }
    for (;;) {
      const from = performance.now()
      const status = await alice.revoke(body).then(
        (answer) => answer.status,
        () => 0,
      )
      if (status === 200) {
        known.revokedAt = performance.now()
        tally.revoked += 1
        tally.revocations.push(known.revokedAt - from)
        return
      }
      failed('a revocation', status, from, known, false)
      await pause(PAUSES.again)
    }
  }

  async function repeat(milliseconds: number, work: () => Promise<unknown>): Promise<void> {
    while (going) {
      await work()
      await pause(random.between(0.5, 1.5) * milliseconds)
    }
  }

  function anyVisit(): Promise<unknown> {
    const known = random.of(shares.slice(-2 * SHARES))
    const cookie = random.of(known?.cookies ?? [])
    return known === undefined || cookie === undefined ? Promise.resolve() : visit(known, cookie)
  }

  /** Somebody opens a share once more, maybe one that is gone. */
  async function anyLaunch(): Promise<void> {
    const known = random.of(shares.slice(-2 * SHARES))
    if (known !== undefined && known.cookies.length < 3) await open(known)
  }

  /** Who asks for a page of a share while it is being revoked, so that each answer is looked at closely. */
  async function revokeOne(): Promise<void> {
    const known = random.of(live())
    if (known === undefined || live().length < SHARES / 2) return
    const revoked = revoke(known)
    let over = false
    void revoked.finally(() => (over = true))
    while (!over) await askAll(known)
    await askAll(known)
  }

  const askAll = (known: Known) => Promise.all([...known.cookies.map((cookie) => visit(known, cookie)), pause(20)])

  async function provision(): Promise<void> {
    if (live().length < SHARES) await share()
    else await anyLaunch()
  }

  const running = [
    repeat(PAUSES.launch, provision),
    repeat(PAUSES.launch, revokeOne),
    ...Array.from({ length: REQUESTERS }, () => repeat(PAUSES.request, anyVisit)),
  ]

  return {
    wrong,
    tally,
    lines,
    /** Ends the work; the WebSockets stay open. */
    async stop(): Promise<void> {
      going = false
      await Promise.all(running)
    },
    /** Looks at every share once more, when all is whole again: what was acknowledged holds. */
    async checkAll(): Promise<void> {
      for (const known of shares) {
        for (const cookie of known.cookies) {
          const status = await visit(known, cookie)
          const expected = isUntouched(known) ? 200 : 401
          if (status !== expected) report(`in the end a request was answered ${status}, not ${expected}`, known)
        }
        const status = await open(known)
        if (isUntouched(known) !== (status === 303)) report(`in the end a launch was answered ${status}`, known)
      }
    },
    /** WebSockets of shares that are gone. */
    orphans: () => [...lines].filter(({ known }) => isRevoked(known, Number.POSITIVE_INFINITY)).length,
    /** Sessions of shares that live, and have no WebSocket open. */
    unconnected(): number {
      const sessions = live().reduce((sum, { cookies }) => sum + cookies.length, 0)
      return sessions - [...lines].filter(({ known }) => isUntouched(known)).length
    },
  }
}

function ownerOf({ share: { providerId, shareWith } }: Known): string {
  return `${providerId} ${shareWith}`
}
