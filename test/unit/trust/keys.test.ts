import { describe, expect, it } from 'vitest'
import { type Outbound, OutboundError, type OutboundRequest } from '../../../src/core/outbound.ts'
import { createDiscover } from '../../../src/trust/discovery.ts'
import { createKeys } from '../../../src/trust/keys.ts'
import { createClock, createPeerKey, createToldEvents, outcomeOf, pairingOf } from '../fixtures.ts'

const one = createPeerKey('Ed25519', 'https://cloud.example/ocm#key-1')
const two = createPeerKey('P-256', 'https://cloud.example/ocm#key-2')
const KEYS_URL = 'https://cloud.example/.well-known/jwks.json'
const DISCOVERY = 'https://cloud.example/.well-known/ocm'

/** What the network answers at each URL: a document, or a fault. */
type Answers = Record<string, unknown>

function setUp(
  answers: Answers = { [KEYS_URL]: { keys: [one.jwk] } },
  written: Record<string, unknown> = { keysUrl: KEYS_URL },
) {
  const clock = createClock()
  const { events, told } = createToldEvents()
  const asked: { readonly url: string; readonly limits: OutboundRequest }[] = []
  let gate = Promise.resolve()
  const getJson = async (url: string, limits: OutboundRequest) => {
    asked.push({ url, limits })
    await gate
    const answer = answers[url]
    if (answer === undefined) throw new OutboundError(`${url} answered 404`)
    if (answer instanceof Error) throw answer
    return answer
  }
  const outbound = { getJson } as unknown as Outbound
  const keys = createKeys({
    outbound,
    discover: createDiscover({ outbound, insecureLoopback: false }),
    now: clock.now,
    events,
  })
  const pairing = pairingOf('cloud.example', written)
  const find = (kid: string) => outcomeOf(() => keys.find(pairing, kid))
  /** Holds every answer back until it is called. */
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = promise
    return resolve
  }
  return { clock, told, asked, answers, keys, pairing, find, hold, urls: () => asked.map(({ url }) => url) }
}

const down = new OutboundError('connect ECONNREFUSED')

describe('the keys of a pairing', () => {
  it('are fetched once and serve for ten minutes', async () => {
    const { find, clock, urls } = setUp()
    expect(await find(one.kid)).toBe('ok')
    clock.advance(599)
    expect(await find(one.kid)).toBe('ok')
    expect(urls()).toEqual([KEYS_URL])
    clock.advance(1)
    expect(await find(one.kid)).toBe('ok')
    expect(urls()).toEqual([KEYS_URL, KEYS_URL])
  })

  it('are found by their whole kid only', async () => {
    const { keys, pairing, find } = setUp()
    expect(await keys.find(pairing, one.kid)).toMatchObject({ kid: one.kid, kind: 'Ed25519' })
    for (const kid of [
      'key-1',
      '#key-1',
      'https://cloud.example/ocm',
      one.kid.toUpperCase(),
      `${one.kid} `,
      '',
      '__proto__',
    ]) {
      expect(await find(kid)).toBe('401 key_unknown')
    }
  })

  it('are asked for within 5 s and 256 KiB', async () => {
    const { find, asked } = setUp()
    await find(one.kid)
    expect(asked[0]?.limits).toEqual({ timeoutSeconds: 5, maxBytes: 262_144, operatorNamed: true })
  })

  it('are fetched by one request however many ask at once', async () => {
    const { find, hold, urls } = setUp()
    const release = hold()
    const all = Promise.all([...Array.from({ length: 20 }, () => find(one.kid)), find('unknown')])
    release()
    expect(new Set(await all)).toEqual(new Set(['ok', '401 key_unknown']))
    expect(urls()).toHaveLength(1)
  })

  it('an unknown kid costs one fetch every 30 s, whatever comes', async () => {
    const { find, clock, urls } = setUp()
    await find(one.kid)
    for (let second = 0; second < 60; second += 1) {
      for (let nth = 0; nth < 20; nth += 1) expect(await find(`random-${second}-${nth}`)).toBe('401 key_unknown')
      expect(await find(one.kid)).toBe('ok')
      clock.advance(1)
    }
    expect(urls()).toHaveLength(3)
  })

  it('a new key is found after the cooldown, and a dropped one is gone with the next fetch', async () => {
    const { find, clock, answers, urls } = setUp()
    expect(await find(two.kid)).toBe('401 key_unknown')
    answers[KEYS_URL] = { keys: [two.jwk] }
    clock.advance(29)
    expect(await find(two.kid)).toBe('401 key_unknown')
    clock.advance(1)
    expect(await find(two.kid)).toBe('ok')
    expect(await find(one.kid)).toBe('401 key_unknown')
    expect(urls()).toHaveLength(3)
  })

  it('of one pairing never answer for another', async () => {
    const { keys, find } = setUp({ [KEYS_URL]: { keys: [one.jwk] }, 'https://other.example/keys': { keys: [two.jwk] } })
    const other = pairingOf('other.example', { keysUrl: 'https://other.example/keys' })
    expect(await find(one.kid)).toBe('ok')
    expect(await outcomeOf(() => keys.find(other, one.kid))).toBe('401 key_unknown')
    expect(await outcomeOf(() => keys.find(other, two.kid))).toBe('ok')
    expect(await find(two.kid)).toBe('401 key_unknown')
  })

  it('that cannot be used are left out and named in the log', async () => {
    const weak = { kty: 'oct', k: 'AAAA', kid: 'shared' }
    const { find, told } = setUp({ [KEYS_URL]: { keys: [weak, one.jwk, 'nonsense', { ...two.jwk, alg: 'RS256' }] } })
    expect(await find(one.kid)).toBe('ok')
    expect(await find(two.kid)).toBe('401 key_unknown')
    expect(told[0]).toMatchObject({ event: 'keys.fetched', fields: { domain: 'cloud.example', result: 'ok', keys: 1 } })
    expect(told[0]?.fields.rejected).toEqual([
      expect.stringContaining('shared: kty oct'),
      expect.stringContaining('not a JWK'),
      expect.stringContaining('RS256 does not fit'),
    ])
  })
})

describe('when the keys cannot be fetched', () => {
  it.each([
    ['no answer', down],
    ['no JWK Set', { jwks: [] }],
    ['more keys than anyone needs', { keys: Array.from({ length: 101 }, () => one.jwk) }],
    ['an empty set', { keys: [] }],
    ['a set of nothing usable', { keys: [{ kty: 'oct', k: 'AAAA', kid: 'a' }] }],
  ])('%s: 503, and another try 5 s later', async (_what, answer) => {
    const { find, clock, answers, urls } = setUp({ [KEYS_URL]: answer })
    expect(await find(one.kid)).toBe('503 keys_unavailable')
    answers[KEYS_URL] = { keys: [one.jwk] }
    clock.advance(4.9)
    expect(await find(one.kid)).toBe('503 keys_unavailable')
    expect(urls()).toHaveLength(1)
    clock.advance(0.1)
    expect(await find(one.kid)).toBe('ok')
  })

  it('says when to come back', async () => {
    const { keys, pairing } = setUp({ [KEYS_URL]: down })
    await expect(keys.find(pairing, one.kid)).rejects.toMatchObject({ status: 503, retryAfterSeconds: 5 })
  })

  it.each([
    ['no answer', down],
    ['an empty set', { keys: [] }],
  ])('%s: the last good keys serve for another hour, and no longer', async (_what, answer) => {
    const { find, clock, answers, told } = setUp()
    await find(one.kid)
    answers[KEYS_URL] = answer
    clock.advance(600)
    expect(await find(one.kid)).toBe('ok')
    expect(await find(two.kid)).toBe('503 keys_unavailable')
    expect(told.at(-1)).toMatchObject({ event: 'keys.failed', fields: { result: 'failed', stillServing: true } })
    clock.advance(3599)
    expect(await find(one.kid)).toBe('ok')
    clock.advance(1)
    expect(await find(one.kid)).toBe('503 keys_unavailable')
    clock.advance(5)
    expect(await find(one.kid)).toBe('503 keys_unavailable')
    expect(told.at(-1)).toMatchObject({ event: 'keys.failed', fields: { stillServing: false } })
    answers[KEYS_URL] = { keys: [one.jwk] }
    clock.advance(5)
    expect(await find(one.kid)).toBe('ok')
  })

  it('a flood costs one fetch every 5 s', async () => {
    const { find, clock, urls } = setUp({ [KEYS_URL]: down })
    for (let tenth = 0; tenth < 200; tenth += 1) {
      expect(await find(`random-${tenth}`)).toBe('503 keys_unavailable')
      clock.advance(0.1)
    }
    expect(urls().length).toBeLessThanOrEqual(5)
  })

  it('a fault of ours is not taken for theirs', async () => {
    const { keys, pairing } = setUp({ [KEYS_URL]: new TypeError('a bug') })
    await expect(keys.find(pairing, one.kid)).rejects.toThrow(TypeError)
  })
})

describe('where the keys are', () => {
  const good = { keys: [one.jwk] }
  const elsewhere = 'https://keys.example.net/jwks'
  const nextcloud = 'https://cloud.example/index.php/apps/cloud_federation_api/api/v1/jwks'

  it.each([
    ['where discovery says', { [DISCOVERY]: { jwksUri: nextcloud }, [nextcloud]: good }, nextcloud, true],
    ['on another host', { [DISCOVERY]: { jwksUri: elsewhere }, [elsewhere]: good }, elsewhere, false],
    [
      'at the well-known place when discovery does not say',
      { [DISCOVERY]: { apiVersion: '1.1' }, [KEYS_URL]: good },
      KEYS_URL,
      true,
    ],
    ['at the well-known place when there is no discovery', { [KEYS_URL]: good }, KEYS_URL, true],
    [
      'at the well-known place when discovery is a page',
      { [DISCOVERY]: new OutboundError(`${DISCOVERY} did not answer JSON`), [KEYS_URL]: good },
      KEYS_URL,
      true,
    ],
    [
      'at the well-known place when jwksUri is no text',
      { [DISCOVERY]: { jwksUri: 7 }, [KEYS_URL]: good },
      KEYS_URL,
      true,
    ],
  ])('%s', async (_where, answers, url, operatorNamed) => {
    const { find, asked } = setUp(answers, {})
    expect(await find(one.kid)).toBe('ok')
    expect(asked[0]).toMatchObject({ url: DISCOVERY, limits: { operatorNamed: true } })
    expect(asked[1]).toMatchObject({ url, limits: { operatorNamed } })
  })

  it.each([
    ['does not answer', down],
    ['answers 500', new OutboundError(`${DISCOVERY} answered 500`)],
    ['has a jwksUri that is no URL', { jwksUri: 'keys' }],
  ])('nowhere while discovery %s: 503', async (_what, answer) => {
    const { find, urls } = setUp({ [DISCOVERY]: answer, [KEYS_URL]: good }, {})
    expect(await find(one.kid)).toBe('503 keys_unavailable')
    expect(urls()).toEqual([DISCOVERY])
  })

  it('never at a place that the keyid names', async () => {
    const { find, urls } = setUp({ [KEYS_URL]: good }, {})
    await find('https://evil.example/ocm#key-1')
    expect(urls()).toEqual([DISCOVERY, KEYS_URL])
  })

  it('a plain http jwksUri on the same host is not the operator’s word', async () => {
    const plain = 'http://cloud.example/jwks'
    const { find, asked } = setUp({ [DISCOVERY]: { jwksUri: plain }, [plain]: good }, {})
    await find(one.kid)
    expect(asked[1]).toMatchObject({ url: plain, limits: { operatorNamed: false } })
  })
})

describe('a kid of Nextcloud’s older key', () => {
  it('is refused with the advice to upgrade the sending server', async () => {
    const { keys, pairing } = setUp()
    const error = await keys.find(pairing, 'https://cloud.example/ocm#signature').catch((thrown) => thrown)
    expect(error).toMatchObject({ status: 401, reason: 'key_unknown', bearerError: 'invalid_token' })
    expect(error.message).toMatch(/upgrade the sending server/)
  })
})
