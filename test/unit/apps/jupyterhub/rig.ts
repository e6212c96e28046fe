import { generateKeyPairSync } from 'node:crypto'
import { Writable } from 'node:stream'
import { onTestFinished } from 'vitest'
import type { App, AppTools } from '../../../../src/apps/app.ts'
import { jupyterhub } from '../../../../src/apps/jupyterhub/jupyterhub.ts'
import type { JupyterhubOptions } from '../../../../src/apps/jupyterhub/options.ts'
import { createFields, type Permission, type Webapp } from '../../../../src/config/schema.ts'
import { createEvents, createLog } from '../../../../src/core/events.ts'
import { createOutbound } from '../../../../src/core/outbound.ts'
import { Secret } from '../../../../src/core/secret.ts'
import type { Session } from '../../../../src/sessions/session.ts'
import { createMemoryStore } from '../../../../src/store/memory.ts'
import { createRecentWorkloads } from '../../../../src/store/recent-workloads.ts'
import { createSealer } from '../../../../src/trust/sealer.ts'
import { SERVICE_TOKEN, startFakeHub } from './fake-hub.ts'

const START = 1_700_000_000

type Rig = Awaited<ReturnType<typeof createRig>>

/** The kind in front of a fake hub: real store, real HTTP, and a clock that moves when told. */
export async function createRig(options: Record<string, unknown> = {}) {
  const hub = await startFakeHub()
  onTestFinished(() => hub.close())
  const clock = { time: START }
  const now = () => clock.time
  hub.settings.now = now
  const outbound = createOutbound({ insecureLoopback: false })
  onTestFinished(() => outbound.close())
  const { privateKey } = generateKeyPairSync('ed25519')
  const told: { event: string; fields: Readonly<Record<string, unknown>> }[] = []
  const events = createEvents(createLog({ level: 'silent', destination: new Writable() }))
  events.observe((event, fields) => void told.push({ event, fields }))
  const store = createMemoryStore({ now })
  const recentWorkloads = createRecentWorkloads(store, now)
  const tools = { outbound, store, recentWorkloads, now, events, sealer: createSealer(privateKey) }
  const open = () => jupyterhub.create(webappAt(hub.url, options), tools as unknown as AppTools)
  return { hub, clock, told, tools, app: open(), reopen: open }
}

function webappAt(upstream: string, options: Record<string, unknown>): Webapp<JupyterhubOptions> {
  const fields = createFields({ baseDir: '/', readSecret: () => new Secret(SERVICE_TOKEN) })
  return {
    name: 'notebooks',
    kind: 'jupyterhub',
    publicUrl: 'https://apps.example.org/jupyter/',
    upstream,
    ocmServers: undefined,
    launchAliases: [],
    match: undefined,
    headers: {},
    timeouts: { connect: 5, response: 60, idle: 600 },
    options: jupyterhub.options(fields).parse({ apiTokenFile: 'token', content: 'none', ...options }),
  }
}

interface Wish {
  readonly permissions?: readonly Permission[]
  readonly suffix?: string
  readonly shareId?: string
  readonly user?: string
  readonly instance?: string
  readonly name?: string
  readonly resourceType?: string
}

/** A session as the launch opens it. */
export function sessionFor(app: App, wish: Wish = {}): Session {
  const { permissions = ['read'], suffix = '', shareId = 'share-1', user = 'bob@receiver.example' } = wish
  const { instance = '00112233445566778899aabbccddeeff', name = 'analysis.ipynb', resourceType = 'file' } = wish
  const webapp = {
    uri: undefined,
    permissions,
    targets: undefined,
    requirements: [],
    appName: undefined,
    mediaTypes: [],
  }
  const share = {
    sender: 'alice@sender.example',
    owner: 'alice@sender.example',
    shareWith: user,
    providerId: 'provider-1',
    shareType: 'user',
    resourceType,
    name,
    ownerDisplayName: undefined,
    expiration: undefined,
    webapp,
    webdav: undefined,
  }
  const grant = {
    mode: 'provisioned' as const,
    senderDomain: 'sender.example',
    shareId,
    instance,
    user,
    owner: share.owner,
    permissions,
    share,
    expiresAt: undefined,
    tokenExpiresAt: START + 3600,
  }
  return {
    idHash: 'hash',
    webapp: 'notebooks',
    scope: app.scopeFor(grant),
    grant,
    openedAt: START,
    expiresAt: START + 28_800,
    deadline: START + 3600,
    returnUri: undefined,
    framed: true,
    frameAncestors: [],
    suffix,
  }
}

/** The hub user of a session, as its path says. */
export function userOf({ scope }: Session): string {
  return scope.split('/').at(-2) ?? ''
}

/** A started server. */
export async function started(rig: Rig, wish: Wish = {}) {
  const session = sessionFor(rig.app, wish)
  await rig.app.prepare(session, () => {})
  return { session, name: userOf(session) }
}

/** Resolves once `condition` holds; what it waits for happens on the other side of a socket. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((turn) => setImmediate(turn))
}
