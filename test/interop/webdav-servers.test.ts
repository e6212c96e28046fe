import { describe, expect, it, onTestFinished } from 'vitest'
import { createOutbound } from '../../src/core/outbound.ts'
import { Secret } from '../../src/core/secret.ts'
import { childUrl, type SharedResource } from '../../src/resources/resource.ts'
import { createWebdav } from '../../src/resources/webdav.ts'
import { usePeer } from './peers.ts'
import { startApache, startRclone } from './webdav-servers.ts'

const SERVERS = [
  { name: 'rclone serve webdav (Go’s x/net/webdav)', start: startRclone, checksIfMatch: false },
  { name: 'Apache mod_dav', start: startApache, checksIfMatch: true },
]
const NAMES = ['plain.txt', 'mit Leerzeichen.txt', 'ümläut – 中文.md', 'a#b?c%d&e+f.txt', "it's (1) [2].ipynb"]

describe.each(SERVERS)('$name', ({ name, start, checksIfMatch }) => {
  const peer = usePeer(name, start)

  function reach(): SharedResource {
    const outbound = createOutbound({ insecureLoopback: true })
    onTestFinished(() => outbound.destroy())
    return createWebdav({ url: peer().url, outbound, operatorNamed: true, token: async () => new Secret('any') })
  }

  async function textOf(resource: SharedResource, url: string): Promise<string> {
    const chunks = await Array.fromAsync((await resource.read(url)).body)
    return Buffer.concat(chunks).toString('utf8')
  }

  it('keeps every name and every byte', async () => {
    const resource = reach()
    const folder = `${childUrl(resource.url, 'a folder ü')}/`
    await resource.makeFolder(folder)
    for (const each of NAMES) await resource.write(childUrl(folder, each), Buffer.from(`in ${each}`), { onlyNew: true })
    const members = await resource.list(folder)
    expect(members.map((entry) => entry.name).toSorted()).toEqual(NAMES.toSorted())
    for (const { name: listed, url, size, modified, isFolder } of members) {
      expect(await textOf(resource, url)).toBe(`in ${listed}`)
      expect({ size, isFolder }).toEqual({ size: Buffer.byteLength(`in ${listed}`), isFolder: false })
      expect(Math.abs(Date.now() - (modified ?? 0))).toBeLessThan(60_000)
    }
    expect(await resource.stat(folder)).toMatchObject({ isFolder: true, name: 'a folder ü' })
    expect(await resource.stat(childUrl(folder, 'missing'))).toBeUndefined()
  })

  it('takes a streamed body of a known and of an unknown size', async () => {
    const resource = reach()
    async function* chunks() {
      for (let index = 0; index < 64; index += 1) yield Buffer.alloc(64 * 1024, index)
    }
    for (const size of [4 * 1024 * 1024, undefined]) {
      const url = childUrl(resource.url, `big ${size}`)
      await resource.write(url, chunks(), { size })
      expect(await resource.stat(url)).toMatchObject({ size: 4 * 1024 * 1024 })
    }
  })

  it('moves without overwriting, and removes', async () => {
    const resource = reach()
    const [from, to] = [childUrl(resource.url, 'from ü.txt'), childUrl(resource.url, 'to #1.txt')]
    await resource.write(from, Buffer.from('one'))
    await resource.move(from, to)
    expect(await textOf(resource, to)).toBe('one')
    await resource.write(from, Buffer.from('two'))
    await expect(resource.move(from, to)).rejects.toMatchObject({ failure: 'changed' })
    await resource.remove(to)
    expect(await resource.stat(to)).toBeUndefined()
    await expect(resource.remove(to)).rejects.toMatchObject({ failure: 'missing' })
  })

  it('changes the ETag with the content, the same in every answer', async () => {
    const resource = reach()
    const url = childUrl(resource.url, 'versions.txt')
    await resource.write(url, Buffer.from('one'))
    const first = (await resource.stat(url))?.etag
    expect((await resource.read(url)).etag).toBe(first)
    await resource.write(url, Buffer.from('another'))
    expect((await resource.stat(url))?.etag).not.toBe(first)
  })

  it(
    checksIfMatch
      ? 'refuses a write over what has changed'
      : 'does not look at If-Match: whoever writes has to look before',
    async () => {
      const resource = reach()
      const url = childUrl(resource.url, 'guarded.txt')
      await resource.write(url, Buffer.from('theirs'))
      const outcome = resource.write(url, Buffer.from('ours'), { ifMatch: '"another"' }).then(
        () => 'written',
        ({ failure }) => failure,
      )
      expect(await outcome).toBe(checksIfMatch ? 'changed' : 'written')
    },
  )

  it('locks, refuses a write without the lock token, takes one with it, and unlocks', async () => {
    const resource = reach()
    const url = childUrl(resource.url, 'locked.txt')
    await resource.write(url, Buffer.from('one'))
    const lockToken = await resource.lock(url, { seconds: 60, owner: 'bob <b>' })
    expect(lockToken).toMatch(/./)
    await expect(resource.lock(url, { seconds: 60, owner: 'eve' })).rejects.toMatchObject({ failure: 'locked' })
    await expect(resource.write(url, Buffer.from('two'))).rejects.toMatchObject({ failure: 'locked' })
    await resource.write(url, Buffer.from('three'), { lockToken })
    await resource.unlock(url, lockToken ?? '')
    await resource.write(url, Buffer.from('four'))
    expect(await textOf(resource, url)).toBe('four')
  })
})
