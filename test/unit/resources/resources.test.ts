import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createOutbound, OutboundError } from '../../../src/core/outbound.ts'
import { Secret } from '../../../src/core/secret.ts'
import { createResources } from '../../../src/resources/resources.ts'
import { createMemoryStore } from '../../../src/store/memory.ts'
import type { Discover } from '../../../src/trust/discovery.ts'
import { createSealer } from '../../../src/trust/sealer.ts'
import { createClock, grantOf, outcomeOf, START, shareOf } from '../fixtures.ts'

const found = { origin: 'https://nextcloud1.docker', jwksUri: undefined, webdavPath: '/public.php/webdav/' }

function opened({ discover = async () => found }: { discover?: Discover } = {}) {
  const clock = createClock()
  const store = createMemoryStore(clock)
  const outbound = createOutbound({ insecureLoopback: false })
  onTestFinished(() => outbound.destroy())
  const sealer = createSealer(generateKeyPairSync('ed25519').privateKey)
  return { clock, store, resources: createResources({ store, sealer, outbound, discover, now: clock.now }) }
}

const withWebdav = (uri: string) => {
  const webapp = { permissions: ['write'] }
  return grantOf({ share: shareOf({ protocol: { name: 'multi', webapp, webdav: { uri } } }) })
}

describe('the access token of a launch', () => {
  it('is kept sealed until it ends', async () => {
    const { clock, store, resources } = opened()
    await resources.keepToken(grantOf(), new Secret('head.claims.signature'))
    expect(await resources.tokenExpiresAt(grantOf())).toBe(START + 3600)
    const notes = await store.notes.list('access token', '', 10)
    expect(notes).toHaveLength(1)
    expect(JSON.stringify(notes)).not.toMatch(/claims|bob|alice|42"/)
    clock.advance(3600)
    expect(await resources.tokenExpiresAt(grantOf())).toBeUndefined()
    expect(await store.notes.list('access token', '', 10)).toEqual([])
  })

  it('gives way to a newer one, and an older one comes too late', async () => {
    const { resources } = opened()
    await resources.keepToken(grantOf({ tokenExpiresAt: START + 60 }), new Secret('first'))
    await resources.keepToken(grantOf({ tokenExpiresAt: START + 90 }), new Secret('second'))
    await resources.keepToken(grantOf({ tokenExpiresAt: START + 60 }), new Secret('first'))
    expect(await resources.tokenExpiresAt(grantOf())).toBe(START + 90)
  })

  it.each([
    ['another person', { user: 'eve@nextcloud2.docker' }],
    ['another share', { shareId: '43' }],
    ['a share made anew under the same id', { instance: 'second' }],
    ['another sender', { senderDomain: 'other.example' }],
  ])('is not the one of %s', async (_whose, change) => {
    const { resources } = opened()
    await resources.keepToken(grantOf(), new Secret('mine'))
    expect(await resources.tokenExpiresAt(grantOf(change))).toBeUndefined()
  })

  it('is forgotten when it is told to be', async () => {
    const { resources } = opened()
    await resources.keepToken(grantOf(), new Secret('mine'))
    await resources.forget(grantOf())
    expect(await resources.tokenExpiresAt(grantOf())).toBeUndefined()
  })
})

describe('where a share’s files are', () => {
  it.each([
    ['an absolute URI as it is', 'https://files.example/dav/x%20y/', 'https://files.example/dav/x%20y/'],
    [
      'a relative one below the discovered path',
      'k3y/doc.md',
      'https://nextcloud1.docker/public.php/webdav/k3y/doc.md',
    ],
    ['one with a slash in front likewise', '/k3y', 'https://nextcloud1.docker/public.php/webdav/k3y'],
    ['an empty one: the path itself', '', 'https://nextcloud1.docker/public.php/webdav/'],
  ])('%s', async (_rule, uri, url) => {
    const { resources } = opened()
    expect((await resources.of(withWebdav(uri))).url).toBe(url)
  })

  it.each([
    '../../admin',
    '%2e%2e/x',
    'ftp://files.example/x',
    'https://user:pw@files.example/x',
    'file:///etc/passwd',
  ])('%s is refused', async (uri) => {
    const { resources } = opened()
    await expect(resources.of(withWebdav(uri))).rejects.toMatchObject({ failure: 'refused' })
  })

  it.each(['https://169.254.169.254/latest', 'https://[::1]/dav', 'http://files.example/dav'])(
    '%s is not reached: the sender chose it',
    async (uri) => {
      const { resources } = opened()
      await resources.keepToken(grantOf(), new Secret('token'))
      const { url, stat } = await resources.of(withWebdav(uri))
      await expect(stat(url)).rejects.toMatchObject({ failure: 'unreachable' })
    },
  )

  it('an access token goes nowhere without TLS, also when the sender says so', async () => {
    const { resources } = opened()
    const grant = withWebdav('http://nextcloud1.docker/dav/')
    await resources.keepToken(grant, new Secret('mine'))
    const resource = await resources.of(grant)
    await expect(resource.stat(resource.url)).rejects.toThrow('http://nextcloud1.docker is not https')
  })

  it('asks the sender once in ten minutes, and says unreachable when it cannot be asked', async () => {
    let asked = 0
    let up = false
    const discover: Discover = async () => {
      asked += 1
      if (!up) throw new OutboundError('down')
      return found
    }
    const { clock, resources } = opened({ discover })
    await expect(resources.of(withWebdav('k3y'))).rejects.toMatchObject({ failure: 'unreachable' })
    up = true
    for (let times = 0; times < 3; times += 1) await resources.of(withWebdav('k3y'))
    expect(asked).toBe(2)
    clock.advance(600)
    await resources.of(withWebdav('k3y'))
    expect(asked).toBe(3)
  })

  it('a share without a webdav entry, or a sender without a WebDAV path, says so', async () => {
    const { resources } = opened({ discover: async () => ({ ...found, webdavPath: undefined }) })
    expect(await outcomeOf(() => resources.of(grantOf()))).toBe('404 no_webdav')
    await expect(resources.of(withWebdav('k3y'))).rejects.toMatchObject({ failure: 'refused' })
  })
})
