import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHistogram } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from '../../src/demo/listen.ts'
import { startSendingServer } from '../../src/demo/sending-server.ts'
import { startIntrospectionEndpoint } from '../flow/introspection-endpoint.ts'
import { showTable } from './figures.ts'
import { type Flood, type Flooded, postLaunch } from './flood-load.ts'
import { build } from './gateway.ts'
import { messageOf, residentBytes, startServer, startWorker } from './processes.ts'

const COOLDOWN_SECONDS = 30
const PER_MINUTE = 600
/** Of a pairing’s introspections, what one client’s bad credentials may use up. */
const SHARE_OF_ONE_CLIENT = 0.1
const CONNECTIONS = 32
const PER_SECOND = 200
const LAUNCH_EVERY_MS = 20
const ALONE_SECONDS = { usual: 10, quick: 3 }
const BAD_LAUNCHES = { usual: 10_000, quick: 2_000 }
const WATCH_MS = 50
/** Each opens a share again and again in a browser of their own: a launch costs the same however long it goes on. */
const PEOPLE = 100
const PATH = '/bench/.ocm/open'

/** What is flooded, what of it is counted at the peer, and how often that may be after so many seconds. */
interface Attack extends Pick<Flood, 'issuer' | 'manyAddresses' | 'path' | 'perSecond'> {
  readonly title: string
  readonly asked: () => number
  readonly bound: (seconds: number) => number
}

/**
 * Floods of bad launches against one pairing while another launches as usual: what is asked of the flooded server, what the
 * gateway’s memory does, and how long the others’ launches take.
 *
 * @returns whether all that was asked stayed within its bound
 */
export async function measureFloods({ quick }: { quick: boolean }, say: (line: string) => void): Promise<boolean> {
  const size = quick ? 'quick' : 'usual'
  await using opened = new AsyncDisposableStack()
  const scene = await startScene(opened)
  const flooder = opened.use(startWorker(new URL('./flood-load.ts', import.meta.url)))
  const honest = () => launchUntil(scene, wait(ALONE_SECONDS[size] * 1000))
  await honest()
  const rows = [['no flood', '', '', ...(await honest()), '', '', '']]
  let within = true
  for (const attack of scene.attacks) {
    const { title, path, issuer, manyAddresses, perSecond, asked, bound } = attack
    const job = {
      ...scene.at,
      path,
      issuer,
      manyAddresses,
      perSecond,
      count: BAD_LAUNCHES[size],
      connections: CONNECTIONS,
    }
    const [askedBefore, before] = [asked(), residentBytes(scene.pid)]
    let peak = before
    const watch = setInterval(() => (peak = Math.max(peak, residentBytes(scene.pid))), WATCH_MS)
    flooder.worker.send(job satisfies Flood)
    const over = messageOf<Flooded>(flooder.worker)
    const latencies = await launchUntil(scene, over)
    const { seconds, statuses } = await over
    clearInterval(watch)
    const [count, most] = [asked() - askedBefore, bound(seconds)]
    within &&= count <= most
    const memory = [before, peak, residentBytes(scene.pid)].map((bytes) => (bytes / 2 ** 20).toFixed(0))
    rows.push([title, seconds.toFixed(1), `${count} (at most ${most})`, ...latencies, ...memory])
    say(`${title}: ${Object.entries(statuses).map(([status, times]) => `${times} × ${status}`)}`)
  }
  const head = [
    '',
    'seconds',
    'asked of the peer',
    'others’ launches: p50 ms',
    'p99 ms',
    'RSS before',
    'peak',
    'after (MiB)',
  ]
  say(`\n${showTable([head, ...rows])}`)
  return within
}

type Scene = Awaited<ReturnType<typeof startScene>>

/** The gateway, paired with a server whose keys are fetched, one that is asked, and one whose people are honest. */
async function startScene(opened: AsyncDisposableStack) {
  const port = await freePort()
  const url = `http://apps.localhost:${port}`
  const adopt = async (host: string) => opened.adopt(await startSendingServer({ host }), (server) => server.close())
  const [alice, carol] = await Promise.all([adopt('alice.localhost'), adopt('carol.localhost')])
  const endpoint = opened.adopt(await startIntrospectionEndpoint(), (server) => server.close())
  const folder = await mkdtemp(join(tmpdir(), 'ocm-gateway-flood-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const config = join(folder, 'gateway.yaml')
  await writeFile(
    config,
    JSON.stringify(documentFor({ port, url, domains: [alice.domain, carol.domain], endpoint: endpoint.url })),
  )
  const running = await startServer(process.execPath, [await build(), 'serve', '--config', config], { port })
  const { pid } = opened.use(running)
  carol.pair({ integrationApi: `${url}/ocm`, launchUrl: `${url}${PATH}`, appName: 'Bench' })
  const people: { readonly token: string; cookie: string }[] = []
  for (let nth = 0; nth < PEOPLE; nth += 1) {
    const share = await carol.share({ shareWith: `bob${nth}@bob.localhost`, notify: false })
    people.push({ token: await carol.mintToken({ share }), cookie: '' })
  }
  const asked = () => endpoint.asked
  const inMinutes = (seconds: number) => 1 + seconds / 60
  const kids = {
    path: PATH,
    issuer: alice.issuer,
    manyAddresses: true,
    asked: () => alice.hits.jwks,
    bound: (seconds: number) => 1 + Math.floor(seconds / COOLDOWN_SECONDS),
  }
  const attacks: Attack[] = [
    { ...kids, title: `random kids, ${PER_SECOND}/s`, perSecond: PER_SECOND },
    { ...kids, title: 'random kids, as fast as answered', perSecond: undefined },
    {
      perSecond: PER_SECOND,
      title: `bad credentials of one address, ${PER_SECOND}/s`,
      path: '/asked/.ocm/open',
      issuer: undefined,
      manyAddresses: false,
      asked,
      bound: (seconds) => Math.ceil(PER_MINUTE * SHARE_OF_ONE_CLIENT * inMinutes(seconds)),
    },
    {
      perSecond: PER_SECOND,
      title: `bad credentials of many, ${PER_SECOND}/s`,
      path: '/asked/.ocm/open',
      issuer: undefined,
      manyAddresses: true,
      asked,
      bound: (seconds) => Math.ceil(PER_MINUTE * inMinutes(seconds)),
    },
  ]
  return { at: { port, host: `apps.localhost:${port}` }, pid, people, attacks }
}

interface Deployment {
  readonly port: number
  readonly url: string
  /** Of the flooded server and of the honest one. */
  readonly domains: readonly [string, string]
  readonly endpoint: string
}

function documentFor({ port, url, domains: [flooded, honest], endpoint }: Deployment) {
  const own = { publicUrl: url, listen: `127.0.0.1:${port}`, adminListen: '127.0.0.1:0', insecureLoopback: true }
  const webapp = { kind: 'generic', upstream: 'http://127.0.0.1:9/', generic: { stripPath: true } }
  const asked = 'asked.localhost'
  return {
    server: { ...own, signingKeyFile: './signing-key.json', trustedProxies: ['127.0.0.1'] },
    store: 'sqlite:./gateway.db',
    ocmServers: [
      { domain: flooded },
      { domain: honest, limits: { requestsPerMinute: 1_000_000, sessions: 1_000_000 } },
      {
        domain: asked,
        modes: ['introspected'],
        introspection: { url: endpoint, auth: 'none' },
        limits: { introspectionsPerMinute: PER_MINUTE },
      },
    ],
    webapps: [
      { ...webapp, name: 'bench', publicUrl: `${url}/bench/`, ocmServers: [flooded, honest] },
      { ...webapp, name: 'asked', publicUrl: `${url}/asked/`, ocmServers: [asked] },
    ],
  }
}

/** Honest launches at an even pace until something is over. @returns their p50 and p99, milliseconds */
async function launchUntil({ at, people }: Scene, over: Promise<unknown>): Promise<string[]> {
  const latencies = createHistogram({ figures: 3 })
  const agent = new Agent({ keepAlive: true })
  let launches = 0
  const underWay = new Set<Promise<void>>()
  const one = async () => {
    const startedAt = performance.now()
    const person = people[launches++ % people.length]
    if (person === undefined) throw new Error('nobody is here')
    const { status, cookie = person.cookie } = await postLaunch({ ...at, path: PATH, agent }, person.token, {
      from: '192.0.2.1',
      cookie: person.cookie,
    })
    person.cookie = cookie
    if (status !== 303) throw new Error(`an honest launch was answered ${status}`)
    latencies.record(Math.max(1, Math.round((performance.now() - startedAt) * 1000)))
  }
  let going = true
  void over.finally(() => {
    going = false
  })
  while (going) {
    const launched = one()
    underWay.add(launched)
    void launched.finally(() => underWay.delete(launched)).catch(() => {})
    await wait(LAUNCH_EVERY_MS)
  }
  await Promise.all(underWay)
  agent.destroy()
  return [50, 99].map((percentile) => (latencies.percentile(percentile) / 1000).toFixed(1))
}
