import { describe, expect, it } from 'vitest'
import { startWopiScene, type WopiScene } from '../flow/wopi-scene.ts'
import { usePeer } from './peers.ts'
import { startApache, startRclone } from './webdav-servers.ts'

const SENDERS = [
  { name: 'rclone serve webdav (Go’s x/net/webdav), behind WOPI', start: startRclone, tellsLocks: false },
  { name: 'Apache mod_dav, behind WOPI', start: startApache, tellsLocks: true },
]

/** A share of something at that server, opened by the launch’s path. */
async function openAt(scene: WopiScene, uri: string, resourceType: 'file' | 'folder', at?: string) {
  const made = await scene.share({ uri: `${scene.gateway.origin}/office/.ocm/open`, resource: scene.report })
  const notification = scene.alice.notification(made)
  const { webapp } = notification.protocol
  const protocol = { name: 'multi', webapp, webdav: { uri } }
  await scene.alice.provision({ ...notification, resourceType, protocol })
  return scene.edit(await scene.launch(await scene.token({ share: made }), at))
}

describe.each(SENDERS)('$name', ({ name, start, tellsLocks }) => {
  const peer = usePeer(name, start)

  async function put(path: string, body: string): Promise<number> {
    return (await fetch(peer().url + path, { method: 'PUT', body })).status
  }
  const get = async (path: string) => (await fetch(peer().url + path)).text()
  const makeFolder = (path: string) => fetch(peer().url + path, { method: 'MKCOL' })

  async function conflictCopies(folder: string): Promise<string[]> {
    const listing = await fetch(peer().url + folder, { method: 'PROPFIND', headers: { depth: '1' } })
    const hrefs = [...(await listing.text()).matchAll(/<[^:>]*:?href>([^<]*conflict[^<]*)</gi)]
    const { origin } = new URL(peer().url)
    return Promise.all(hrefs.map(async ([, href]) => (await fetch(origin + href)).text()))
  }

  it('a document is opened, locked there, saved and unlocked; a foreign change is kept beside it', async () => {
    await makeFolder('papers/')
    expect(await put('papers/a%20text.odt', 'first words')).toBe(201)
    const scene = await startWopiScene()
    const editor = await openAt(scene, `${peer().url}papers/`, 'folder', '/office/.ocm/open/a%20text.odt')
    const info = await editor.info()
    expect(info).toMatchObject({ BaseFileName: 'a text.odt', Size: 11 })
    expect(await editor.read()).toBe('first words')
    expect((await editor.lock('L')).status).toBe(200)
    const headers = (time: unknown) => ({ 'X-COOL-WOPI-Timestamp': String(time), 'X-COOL-WOPI-IsAutosave': 'true' })
    const saved = await editor.save('second words', 'L', headers(info.LastModifiedTime))
    expect(saved.status, saved.body.toString()).toBe(200)
    expect(await get('papers/a%20text.odt')).toBe('second words')
    expect(await put('papers/a%20text.odt', 'by alice'), 'it is locked there').toBe(423)
    expect((await editor.unlock('L')).status).toBe(200)
    expect([200, 201, 204]).toContain(await put('papers/a%20text.odt', 'by alice'))
    expect((await editor.lock('L')).status).toBe(200)
    const refused = await editor.save('third words', 'L', headers(saved.json().LastModifiedTime))
    expect([refused.status, refused.json().COOLStatusCode]).toEqual([409, 1010])
    expect(await get('papers/a%20text.odt')).toBe('by alice')
    expect(await conflictCopies('papers/')).toEqual(['third words'])
  })

  it('a lock there that a gateway left when it died is taken over, if the server tells its locks', async () => {
    await makeFolder('left/')
    expect(await put('left/a.odt', 'first words')).toBe(201)
    const scene = await startWopiScene()
    const editor = await openAt(scene, `${peer().url}left/`, 'folder', '/office/.ocm/open/a.odt')
    await editor.read()
    const lockAs = (owner: string) =>
      fetch(`${peer().url}left/a.odt`, {
        method: 'LOCK',
        headers: { timeout: 'Second-1800', depth: '0', 'content-type': 'application/xml' },
        body: `<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>${owner}</owner></lockinfo>`,
      })
    expect((await lockAs(`ocm-webapp-gateway, ${editor.wopiSrc}`)).status).toBe(200)
    expect((await editor.lock('L')).status).toBe(tellsLocks ? 200 : 409)
    if (!tellsLocks) return
    expect((await editor.save('second words', 'L')).status).toBe(200)
    expect((await editor.unlock('L')).status).toBe(200)
    expect((await lockAs('somebody else')).status).toBe(200)
    expect((await editor.lock('L')).header('x-wopi-lockfailurereason')).toBe('The file is locked at the sender.')
  })

  it('a share of a single file is found, also as a folder with one member', async () => {
    const scene = await startWopiScene()
    await makeFolder('single/')
    const path = `single/${encodeURIComponent(scene.report)}`
    expect(await put(path, 'single')).toBe(201)
    expect(await (await openAt(scene, peer().url + path, 'file')).read()).toBe('single')
    expect(await (await openAt(scene, `${peer().url}single/`, 'file')).read()).toBe('single')
  })
})
