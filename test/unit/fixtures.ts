import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createFields, pairingSchema } from '../../src/config/schema.ts'
import { asGatewayError } from '../../src/core/errors.ts'
import { createEvents, createLog } from '../../src/core/events.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Session } from '../../src/sessions/session.ts'
import type { Grant } from '../../src/shares/grant.ts'
import { readProvisioning, type Share } from '../../src/shares/share.ts'
import type { VerifiedCredential } from '../../src/trust/credentials/credential.ts'
import type { KeyKind } from '../../src/trust/jwk.ts'
import type { Pairing } from '../../src/trust/pairings.ts'

/** Where every clock of these tests starts: epoch seconds. */
export const START = 1_730_815_200

/** A clock that moves only when it is told to. */
export function createClock(start = START) {
  let time = start
  return {
    now: () => time,
    advance: (seconds: number) => {
      time += seconds
    },
    set: (epochSeconds: number) => {
      time = epochSeconds
    },
  }
}

/** Events that are not logged, and what was told, oldest first. */
export function createToldEvents() {
  const events = createEvents(createLog({ level: 'silent' }))
  const told: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[] = []
  events.observe((event, fields) => told.push({ event, fields }))
  return { events, told, names: () => told.map(({ event }) => event) }
}

/** A pairing as the configuration makes it. */
export function pairingOf(domain: string, written: Record<string, unknown> = {}): Pairing {
  const fields = createFields({ baseDir: '/', readSecret: () => new Secret('') })
  return pairingSchema(fields).parse({ domain, ...written })
}

const GENERATORS: Record<KeyKind, () => { publicKey: KeyObject; privateKey: KeyObject }> = {
  Ed25519: () => generateKeyPairSync('ed25519'),
  'P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  RSA: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
}

/** A key of a peer; `jwk` is what it publishes. */
export function createPeerKey(kind: KeyKind, kid: string, members: Record<string, unknown> = {}) {
  const { publicKey, privateKey } = GENERATORS[kind]()
  const jwk: Record<string, unknown> = { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', ...members }
  return { kid, publicKey, privateKey, jwk }
}

/** A provisioning body as a current Nextcloud sends it. */
export function provisioning(change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    shareWith: 'bob@nextcloud2.docker',
    name: 'analysis',
    providerId: '42',
    owner: 'alice@nextcloud1.docker',
    sender: 'alice@nextcloud1.docker',
    shareType: 'user',
    resourceType: 'folder',
    protocol: { name: 'multi', webapp: { uri: 'https://apps.example.org/notes/.ocm/open', permissions: ['write'] } },
    ...change,
  }
}

export function shareOf(change: Record<string, unknown> = {}): Share {
  const read = readProvisioning(provisioning(change))
  if (Array.isArray(read)) throw new Error(read.join('; '))
  return read.share
}

export function credentialOf(pairing: Pairing, change: Partial<VerifiedCredential> = {}): VerifiedCredential {
  return {
    pairing,
    sub: 'alice',
    aud: 'bob@nextcloud2.docker',
    clientId: '42',
    exp: START + 3600,
    ocmIp: undefined,
    introspected: false,
    token: new Secret('a.b.c'),
    ...change,
  }
}

export function grantOf(change: Partial<Grant> = {}): Grant {
  return {
    mode: 'provisioned',
    senderDomain: 'nextcloud1.docker',
    shareId: '42',
    instance: 'first',
    user: 'bob@nextcloud2.docker',
    owner: 'alice@nextcloud1.docker',
    permissions: ['view', 'read', 'write'],
    share: shareOf(),
    expiresAt: undefined,
    tokenExpiresAt: START + 3600,
    ...change,
  }
}

export function sessionOf(change: Partial<Session> = {}): Session {
  return {
    idHash: 'hash',
    webapp: 'notes',
    scope: '/notes/',
    grant: grantOf(),
    openedAt: START,
    expiresAt: START + 28_800,
    deadline: START + 3600,
    returnUri: undefined,
    framed: true,
    frameAncestors: ['https://nextcloud2.docker'],
    suffix: '',
    ...change,
  }
}

/** How a call ended: `'ok'`, or the status and reason of its refusal. */
export async function outcomeOf(call: () => unknown): Promise<string> {
  try {
    await call()
    return 'ok'
  } catch (error) {
    const { status, reason } = asGatewayError(error)
    if (reason === 'internal_error') throw error
    return `${status} ${reason}`
  }
}
