import { describe, expect, it } from 'vitest'
import { createGrants, regrant } from '../../../src/shares/grant.ts'
import { createRecords } from '../../../src/shares/records.ts'
import { readProvisioning } from '../../../src/shares/share.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import type { VerifiedCredential } from '../../../src/trust/credentials/credential.ts'
import type { Pairing } from '../../../src/trust/pairings.ts'
import { createClock, credentialOf, grantOf, outcomeOf, pairingOf, provisioning, START, shareOf } from '../fixtures.ts'

const ALICES = pairingOf('nextcloud1.docker')
const CLAIM = {
  providerId: '42',
  resourceType: 'file',
  name: 'claimed',
  protocol: { webapp: { permissions: ['read'] } },
}

/** A real store of records, into which shares are pushed and revoked. */
function setUp() {
  const clock = createClock()
  const records = createRecords({ store: createMemoryStore({ now: clock.now }), now: clock.now })
  const grants = createGrants({ records, now: clock.now })
  let created = START
  const next = () => {
    created += 1
    return { created, signature: `signature-${created}` }
  }
  const push = (change: Record<string, unknown> = {}, pairing = ALICES) => {
    const identified = readProvisioning(provisioning(change))
    if (Array.isArray(identified)) throw new Error(identified.join())
    return records.provision(identified, next(), pairing)
  }
  const revoke = (shareId = '42', pairing = ALICES) =>
    records.revoke({ senderDomain: pairing.domain, shareId }, next(), pairing)
  const of = (change: Partial<VerifiedCredential> = {}, pairing: Pairing = ALICES) =>
    grants.of(credentialOf(pairing, change))
  return { clock, records, push, revoke, of, outcome: (...args: Parameters<typeof of>) => outcomeOf(() => of(...args)) }
}

const both = pairingOf('nextcloud1.docker', { modes: ['provisioned', 'self-contained'] })
const claimsOnly = pairingOf('nextcloud1.docker', { modes: ['self-contained'] })
const asked = pairingOf('nextcloud1.docker', {
  modes: ['introspected'],
  introspection: { url: 'https://nextcloud1.docker/introspect' },
})

describe('a token of a provisioned share', () => {
  it('grants what the record says, to the person it says', async () => {
    const { push, of } = setUp()
    await push({ expiration: START + 9000 })
    expect(await of()).toEqual({
      mode: 'provisioned',
      senderDomain: 'nextcloud1.docker',
      shareId: '42',
      instance: expect.stringMatching(/^[0-9a-f]{32}$/),
      user: 'bob@nextcloud2.docker',
      owner: 'alice@nextcloud1.docker',
      permissions: ['write'],
      share: shareOf({ expiration: START + 9000 }),
      expiresAt: START + 9000,
      tokenExpiresAt: START + 3600,
    })
  })

  it.each([
    ['aud with scheme and slash', {}, { aud: 'bob@https://NEXTCLOUD2.docker:443/' }],
    ['a shareWith with scheme and slash', { shareWith: 'bob@https://nextcloud2.docker/' }, {}],
    ['an owner below a webroot', { owner: 'alice@nextcloud1.docker/nextcloud' }, {}],
    ['an owner with a default port', { owner: 'alice@nextcloud1.docker:443' }, {}],
    ['a uid with @', { owner: 'alice@corp.org@nextcloud1.docker' }, { sub: 'alice@corp.org' }],
    ['a full address as sub', {}, { sub: 'alice@nextcloud1.docker' }],
    ['a full address with scheme as sub', {}, { sub: 'alice@https://nextcloud1.docker/' }],
    [
      'a uid that looks like an address here',
      { owner: 'a@nextcloud1.docker@nextcloud1.docker' },
      { sub: 'a@nextcloud1.docker' },
    ],
    ['an integer providerId', { providerId: 42 }, {}],
    ['a recipient below a webroot', { shareWith: 'bob@n.example/oc' }, { aud: 'bob@n.example/oc/' }],
  ])('is bound by %s', async (_what, change, token) => {
    const { push, outcome } = setUp()
    await push(change)
    expect(await outcome(token)).toBe('ok')
  })

  it.each([
    ['another sub', {}, { sub: 'mallory' }, '403 owner_mismatch'],
    ['sub in another case', {}, { sub: 'Alice' }, '403 owner_mismatch'],
    ['sub at another host', {}, { sub: 'alice@evil.example' }, '403 owner_mismatch'],
    ['an owner at another host', { owner: 'alice@evil.example' }, {}, '403 owner_mismatch'],
    ['an owner below the issuer’s name', { owner: 'alice@nextcloud1.docker.evil' }, {}, '403 owner_mismatch'],
    ['an owner on another port', { owner: 'alice@nextcloud1.docker:8443' }, {}, '403 owner_mismatch'],
    ['another aud', {}, { aud: 'carol@nextcloud2.docker' }, '403 recipient_mismatch'],
    ['aud in another case', {}, { aud: 'Bob@nextcloud2.docker' }, '403 recipient_mismatch'],
    ['aud at another host', {}, { aud: 'bob@evil.example' }, '403 recipient_mismatch'],
    ['aud below a webroot', {}, { aud: 'bob@nextcloud2.docker/sub' }, '403 recipient_mismatch'],
    ['aud that is no address', {}, { aud: 'reva' }, '401 token_claims'],
    ['another id', {}, { clientId: '43' }, '404 share_unknown'],
    ['an id with leading zeros', {}, { clientId: '042' }, '404 share_unknown'],
    ['an id as a fraction', {}, { clientId: '42.0' }, '404 share_unknown'],
    ['an id with a space', {}, { clientId: ' 42' }, '404 share_unknown'],
    ['no id', {}, { clientId: undefined }, '404 share_unknown'],
    ['the providerId where there is a clientId', { protocol: { webapp: { clientId: '7' } } }, {}, '404 share_unknown'],
    ['a record that expired', { expiration: START }, {}, '410 share_expired'],
    ['a record that grants nothing', { protocol: { webapp: { permissions: [] } } }, {}, '403 permissions_empty'],
  ] as [string, Record<string, unknown>, Partial<VerifiedCredential>, string][])(
    'is refused: %s',
    async (_what, change, token, refusal) => {
      const { push, outcome } = setUp()
      await push(change)
      expect(await outcome(token)).toBe(refusal)
    },
  )

  it('tells both ids to the log when there is no record, and guesses none', async () => {
    const { push, of } = setUp()
    await push({ providerId: '7' })
    const error = await of().catch((thrown) => thrown)
    expect(error).toMatchObject({ status: 404, detail: { clientId: '42', senderDomain: 'nextcloud1.docker' } })
  })

  it('opens nothing of another issuer that uses the same id', async () => {
    const { push, outcome } = setUp()
    const other = pairingOf('other.example')
    await push()
    expect(await outcome({}, other)).toBe('404 share_unknown')
    await push({ owner: 'alice@other.example', sender: 'alice@other.example' }, other)
    expect(await outcome({}, other)).toBe('ok')
    expect(await outcome({ sub: 'alice@nextcloud1.docker' }, other)).toBe('403 owner_mismatch')
  })

  it('is cut by the ceiling of its pairing', async () => {
    const { push, of, outcome } = setUp()
    await push()
    const readers = pairingOf('nextcloud1.docker', { permissions: ['view', 'read'] })
    expect((await of({}, readers)).permissions).toEqual(['view', 'read'])
    expect(await outcome({}, pairingOf('nextcloud1.docker', { permissions: ['share'] }))).toBe('403 permissions_empty')
  })

  it('is another instance after it was revoked and shared anew, and the same one when it is only replaced', async () => {
    const { push, revoke, of, outcome } = setUp()
    await push()
    const { instance } = await of()
    await push({ name: 'renamed' })
    expect((await of()).instance).toBe(instance)
    await revoke()
    expect(await outcome()).toBe('410 share_revoked')
    await push()
    expect((await of()).instance).not.toBe(instance)
  })
})

describe('record, claim and tombstone', () => {
  it.each([
    ['record and claim: the record', both, true, false, CLAIM, 'provisioned'],
    ['no record, a claim: the claim', both, false, false, CLAIM, 'self-contained'],
    ['no record, no claim', both, false, false, undefined, '404 share_unknown'],
    ['no record, a claim where only provisioning is permitted', ALICES, false, false, CLAIM, '404 share_unknown'],
    ['no claim where only claims are permitted', claimsOnly, false, false, undefined, '401 mode_not_permitted'],
    ['a record where only claims are permitted', claimsOnly, true, false, undefined, '401 mode_not_permitted'],
    ['a record and a claim where only claims are permitted', claimsOnly, true, false, CLAIM, '401 mode_not_permitted'],
    ['a tombstone', both, true, true, undefined, '410 share_revoked'],
    ['a tombstone and a claim', both, true, true, CLAIM, '410 share_revoked'],
    ['a tombstone and a claim where only claims are permitted', claimsOnly, true, true, CLAIM, '410 share_revoked'],
    ['a claim where only introspection is permitted', asked, false, false, CLAIM, '401 mode_not_permitted'],
  ])('%s', async (_what, pairing, provisioned, revoked, ocmIp, expected) => {
    const { push, revoke, of, outcome } = setUp()
    if (provisioned) await push()
    if (revoked) await revoke()
    const result = await outcome({ ocmIp }, pairing)
    expect(result === 'ok' ? (await of({ ocmIp }, pairing)).mode : result).toBe(expected)
  })

  it('a share that was revoked before it was ever announced stays revoked', async () => {
    const { revoke, outcome } = setUp()
    expect(await revoke()).toBe('gone')
    expect(await outcome({ ocmIp: CLAIM }, both)).toBe('410 share_revoked')
  })

  it('a tombstone outlives the longest token', async () => {
    const { push, revoke, outcome, clock } = setUp()
    await push()
    await revoke()
    clock.advance(86_400 + 60)
    expect(await outcome({ ocmIp: CLAIM, exp: clock.now() + 60 }, both)).toBe('410 share_revoked')
  })

  it('an answer of introspection needs no other mode, and a record wins over its claim too', async () => {
    const { push, of } = setUp()
    const pairing = pairingOf('nextcloud1.docker', {
      modes: ['provisioned', 'introspected'],
      introspection: { url: 'https://nextcloud1.docker/introspect' },
    })
    expect(await of({ introspected: true, ocmIp: CLAIM, clientId: undefined }, asked)).toMatchObject({
      mode: 'introspected',
      shareId: '42',
      permissions: ['read'],
    })
    await push()
    expect(await of({ introspected: true, ocmIp: CLAIM }, pairing)).toMatchObject({
      mode: 'introspected',
      permissions: ['write'],
    })
  })
})

describe('a claim', () => {
  it('grants what it says, between sub and aud', async () => {
    const grant = await setUp().of({ ocmIp: CLAIM, aud: 'bob@https://nextcloud2.docker/' }, both)
    expect(grant).toMatchObject({
      mode: 'self-contained',
      instance: 'self-contained',
      user: 'bob@nextcloud2.docker',
      owner: 'alice@nextcloud1.docker',
      permissions: ['read'],
      share: { name: 'claimed', owner: 'alice@nextcloud1.docker', shareWith: 'bob@nextcloud2.docker' },
    })
  })

  it.each([
    ['not complete', { ...CLAIM, resourceType: undefined }, {}, '401 claim_malformed'],
    ['null', null, {}, '401 claim_malformed'],
    ['expired', { ...CLAIM, expiration: START }, {}, '410 share_expired'],
    ['of nothing', { ...CLAIM, protocol: { webapp: { permissions: ['admin'] } } }, {}, '403 permissions_empty'],
    ['for nobody', CLAIM, { aud: 'reva' }, '401 token_claims'],
  ])('is refused: %s', async (_what, ocmIp, token, refusal) => {
    expect(await setUp().outcome({ ocmIp, ...token }, both)).toBe(refusal)
  })

  it('under another client_id reaches neither a record nor a revoked share', async () => {
    const { push, revoke, outcome } = setUp()
    await push()
    expect(await outcome({ ocmIp: CLAIM, clientId: 'other' }, both)).toBe('403 claim_mismatch')
    await revoke()
    expect(await outcome({ ocmIp: CLAIM, clientId: 'other' }, both)).toBe('410 share_revoked')
  })

  it('of one issuer is never about a share of another', async () => {
    const { push, of } = setUp()
    await push()
    const other = pairingOf('other.example', { modes: ['self-contained'] })
    expect(await of({ ocmIp: CLAIM }, other)).toMatchObject({
      senderDomain: 'other.example',
      owner: 'alice@other.example',
    })
  })
})

describe('a running grant after its record was replaced', () => {
  const held = grantOf()

  it.each([
    ['fewer permissions', { protocol: { ...webapp({ permissions: ['view'] }) } }, ['view']],
    ['more permissions', { protocol: { ...webapp({ permissions: ['write', 'share'] }) } }, ['write', 'share']],
    ['an expiration ahead', { expiration: START + 1 }, ['write']],
    ['the same recipient in another spelling', { shareWith: 'bob@https://NEXTCLOUD2.docker/' }, ['write']],
    ['another display name', { ownerDisplayName: 'Alice' }, ['write']],
    ['another recipient', { shareWith: 'carol@nextcloud2.docker' }, undefined],
    ['another owner', { owner: 'mallory@nextcloud1.docker' }, undefined],
    ['another name', { name: 'other' }, undefined],
    ['another kind of resource', { resourceType: 'file' }, undefined],
    ['another app', { protocol: webapp({ uri: 'https://apps.example.org/other/' }) }, undefined],
    ['other bytes', { protocol: { ...webapp({}), webdav: { uri: 'https://cloud/other' } } }, undefined],
    ['no permissions', { protocol: webapp({ permissions: [] }) }, undefined],
    ['an expiration that has passed', { expiration: START }, undefined],
  ])('%s', (_what, change, permissions) => {
    const next = regrant(held, shareOf(change), ALICES, START)
    expect(next?.permissions).toEqual(permissions)
    if (next !== undefined) {
      expect(next).toMatchObject({ instance: held.instance, tokenExpiresAt: held.tokenExpiresAt, user: held.user })
      expect(next.expiresAt).toBe(shareOf(change).expiration)
    }
  })

  it('is cut by the ceiling of today', () => {
    const readers = pairingOf('nextcloud1.docker', { permissions: ['view'] })
    expect(regrant(held, shareOf(), readers, START)?.permissions).toEqual(['view'])
  })
})

function webapp(change: Record<string, unknown>) {
  const entry = { uri: 'https://apps.example.org/notes/.ocm/open', permissions: ['write'], ...change }
  return { name: 'multi', webapp: entry }
}
