import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { SentShare } from '../../src/demo/sent-share.ts'
import { until } from '../flow/until.ts'
import type { Answered, Cluster } from './cluster.ts'
import { ANSWERED_BY } from './nginx.ts'
import type { Random } from './random.ts'
import type { Part, Troubles } from './troubles.ts'

const LAUNCHING = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
const PEOPLE = ['bob@bob.localhost:8443', 'carol@carol.localhost:8443']
/** So many shares live at a time; the oldest goes when there are more. */
const SHARES = 30
const REQUESTERS = 4
const POSTERS = 2
const PAUSES = { launch: 250, request: 40, message: 100, again: 100 }
/** What a gateway says that believes a clock which is wrong; of a session it never says so. */
const BY_THE_CLOCK = ['token_expired', 'token_not_yet_valid', 'signature_future', 'signature_stale']
/** More than any clock is wrong by, and what is allowed beside. */
const LONG_EXPIRED_SECONDS = 300
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
  /** When the share, and each launch and revocation of it, was acknowledged. */
  readonly acknowledgements: number[]
  /** Of these, those of launches. */
  readonly launches: number[]
}

interface Line {
  readonly socket: WebSocket
  readonly known: Known
}

interface Tally {
  shared: number
  launched: number
  answered: number
  posted: number
  echoed: number
  revoked: number
  reconnected: number
  /** Requests for a page that got no answer of a gateway. */
  dropped: number
  /** POSTs (launches, back-channel requests, those to the app) that got none: nobody may repeat them but who sent them. */
  unrepeatable: number
  /** Would have been wrong, had there not been two masters, one of which did not have what the other acknowledged. */
  uncertain: number
  /** Ended by the revocation of their share. */
  cut: number
  /** Refused by a wrong clock. */
  misjudged: number
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
  /** POSTs that were answered. */
  const done = new Set<string>()
  const tally: Tally = {
    ...{ shared: 0, launched: 0, answered: 0, posted: 0, echoed: 0, revoked: 0, reconnected: 0, dropped: 0 },
    ...{ unrepeatable: 0, uncertain: 0, cut: 0, misjudged: 0, unavailable: 0, revocations: [] },
  }
  let going = true
  const since = performance.now()

  const inSplit = (times: readonly number[]) => times.some((at) => troubles.between(['split'], at, at))
  const isBroken = () => troubles.between(['store', 'split'], performance.now(), performance.now())
  /**
   * What one of two masters acknowledged, gateways at the other one do not know until there is one again, as the gateway’s
   * documentation says. From then on it holds, but for sessions: these may be lost.
   */
  const isUncertain = ({ acknowledgements, launches }: Known, ofSession: boolean) =>
    (inSplit(acknowledgements) && isBroken()) || (ofSession && inSplit(launches))

  function report(what: string, known?: Known, { ofSession = false } = {}): void {
    if (known !== undefined && isUncertain(known, ofSession)) {
      tally.uncertain += 1
      return
    }
    const at = ((performance.now() - since) / 1000).toFixed(3)
    wrong.push(`${at} s: ${what}${known === undefined ? '' : ` (share ${known.share.providerId})`}`)
  }

  /** An answer that is nobody’s fault only while something is broken. */
  function failed(
    what: string,
    { status, body }: Pick<Answered, 'status' | 'body'>,
    from: number,
    { known, repeatable = false }: { known?: Known | undefined; repeatable?: boolean } = {},
  ): void {
    const misjudged = status === 401 && BY_THE_CLOCK.some((reason) => body.includes(`"reason":"${reason}"`))
    const cut = status !== 503 && !misjudged && known !== undefined && isCutBy(known, from)
    if (status === 503) tally.unavailable += 1
    else if (misjudged) tally.misjudged += 1
    else if (cut) tally.cut += 1
    else if (repeatable) tally.dropped += 1
    else tally.unrepeatable += 1
    const parts = partsFor(status, { misjudged, repeatable })
    const possible = misjudged || [0, 502, 503, 504].includes(status)
    if (!possible || (!cut && !troubles.between(parts, from, performance.now())))
      report(`${what} was answered ${status} without a reason`, known)
  }

  /** What has to be broken for such an answer. */
  function partsFor(status: number, { misjudged, repeatable }: Record<'misjudged' | 'repeatable', boolean>): Part[] {
    if (status === 503) return ['store', 'split']
    if (misjudged) return ['clock']
    return repeatable ? ['replica'] : ['replica', 'restart', 'clock']
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
      const acknowledged = { acknowledgements: [performance.now()], launches: [] }
      const known = { share: made, cookies: [], revokingSince, revokedAt, ...acknowledged }
      shares.push(known)
      tally.shared += 1
      await open(known)
    } catch (error) {
      const [, status = 0, body = ''] = /did not take the share: (\d+)(.*)/.exec((error as Error).message) ?? []
      failed('an announcement', { status: Number(status), body }, from)
    }
  }

  /** A launch. @returns the status of its answer */
  async function open(known: Known): Promise<number> {
    const from = performance.now()
    const body = new URLSearchParams({ access_token: await alice.mintToken({ share: known.share }) }).toString()
    const answer = await cluster.ask('/notes/.ocm/open', { method: 'POST', headers: LAUNCHING, body })
    const { status, headers: answered } = answer
    if (status === 303) {
      if (isRevoked(known, from)) report('a revoked share was opened', known)
      const [cookie = ''] = answered['set-cookie'] ?? []
      known.cookies.push(cookie.split(';')[0] ?? '')
      for (const times of [known.acknowledgements, known.launches]) times.push(performance.now())
      tally.launched += 1
      void hold(known, known.cookies.at(-1) ?? '')
    } else if (status === 0 || status === 401 || status >= 500) failed('a launch', answer, from, { known })
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

  /** Something of a share that its app is to do once. */
  async function post(known: Known, cookie: string): Promise<void> {
    const [from, path] = [performance.now(), `/notes/page?post=${tally.posted}`]
    tally.posted += 1
    const headers = { cookie, accept: 'application/json', origin: cluster.origin }
    const answered = await cluster.ask(path, { method: 'POST', headers, body: 'once' })
    check(known, answered, from, false)
    if (answered.status === 200) done.add(path)
  }

  function checkPosts(): void {
    const { posts } = cluster.app
    for (const [path, count] of posts) if (count > 1) report(`${path} was posted once, and executed ${count} times`)
    for (const path of done) if (!posts.has(path)) report(`${path} was answered, and never executed`)
  }

  /** With a token whose time was over long ago, by whatever clock. */
  async function openTooLate(known: Known): Promise<void> {
    const from = performance.now()
    const exp = Math.floor(Date.now() / 1000) - LONG_EXPIRED_SECONDS
    const token = await alice.mintToken({ share: known.share, claims: { iat: exp - 60, exp } })
    const body = new URLSearchParams({ access_token: token }).toString()
    const answer = await cluster.ask('/notes/.ocm/open', { method: 'POST', headers: LAUNCHING, body })
    if (answer.status === 303) report('a token that expired long ago was believed', known)
    else if (answer.status !== 401) failed('a launch that comes too late', answer, from, { known })
  }

  function check(known: Known, answered: Answered, from: number, repeatable = true): void {
    const { status, headers, body } = answered
    if (headers['set-cookie'] !== undefined && status !== 401) report(`a ${status} changed a cookie`, known)
    if (status === 200) {
      tally.answered += 1
      if (isRevoked(known, from)) {
        const late = (from - known.revokedAt).toFixed(1)
        report(`served ${late} ms after the revocation was answered, by ${headers[ANSWERED_BY]}`, known)
      }
      if (body !== ownerOf(known)) report(`reached the scope of another: ${body}`, known)
    } else if (status === 401) {
      if (isUntouched(known))
        report(`a live session was unknown to ${headers[ANSWERED_BY]}`, known, { ofSession: true })
    } else failed(repeatable ? 'a request' : 'a POST', answered, from, { known, repeatable })
  }

  /** Keeps a WebSocket open for as long as the share lives. */
  async function hold(known: Known, cookie: string): Promise<void> {
    for (let count = 0; going && isUntouched(known); count += 1) {
      const from = performance.now()
      const status = await connectLine(known, cookie)
      if (status === 101) {
        if (count > 0) tally.reconnected += 1
      } else if (status === 401) {
        if (isUntouched(known)) report('a WebSocket of a live session was refused', known, { ofSession: true })
      } else failed('a handshake', { status, body: '' }, from, { known, repeatable: true })
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
    if (outlived > CUT_MS && !troubles.between(['store', 'split'], known.revokedAt - 2000, performance.now()))
      report(`a WebSocket went on ${outlived.toFixed(0)} ms after the revocation was answered`, known)
  }

  /** As a cloud does it: again until it is answered. */
  async function revoke(known: Known): Promise<void> {
    if (!isUntouched(known)) return
    known.revokingSince = performance.now()
    const body = { sender: alice.address, providerId: known.share.providerId }
    for (;;) {
      const from = performance.now()
      const answer = await alice.revoke(body).then(
        ({ status, body: said }) => ({ status, body: JSON.stringify(said) }),
        () => ({ status: 0, body: '' }),
      )
      if (answer.status === 200) {
        known.revokedAt = performance.now()
        known.acknowledgements.push(known.revokedAt)
        tally.revoked += 1
        tally.revocations.push(known.revokedAt - from)
        return
      }
      failed('a revocation', answer, from, { known })
      await pause(PAUSES.again)
    }
  }

  async function repeat(milliseconds: number, work: () => Promise<unknown>): Promise<void> {
    while (going) {
      await work()
      await pause(random.between(0.5, 1.5) * milliseconds)
    }
  }

  function anyone(work: (known: Known, cookie: string) => Promise<unknown>): Promise<unknown> {
    const known = random.of(shares.slice(-2 * SHARES))
    const cookie = random.of(known?.cookies ?? [])
    return known === undefined || cookie === undefined ? Promise.resolve() : work(known, cookie)
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
    repeat(PAUSES.launch, () => anyone(openTooLate)),
    ...Array.from({ length: REQUESTERS }, () => repeat(PAUSES.request, () => anyone(visit))),
    ...Array.from({ length: POSTERS }, () => repeat(PAUSES.request, () => anyone(post))),
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
      checkPosts()
      await until('everything had time to connect again', () => !isBroken())
      for (const known of shares) {
        for (const cookie of known.cookies) {
          const status = await visit(known, cookie)
          const expected = isUntouched(known) ? 200 : 401
          if (status !== expected)
            report(`in the end a request was answered ${status}, not ${expected}`, known, {
              ofSession: expected === 200,
            })
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
