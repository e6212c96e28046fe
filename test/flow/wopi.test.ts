import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { BOBS_CLOUD, navigation, openWebSocket, send } from './harness.ts'
import { keepSecret, secretsIn } from './leaks.ts'
import { until } from './until.ts'
import { FOLDER, RESOURCES, sharedWopiScene, startWopiScene, type WopiScene } from './wopi-scene.ts'

const office = sharedWopiScene()

const resourceNamed = (name: string) => {
  const resource = RESOURCES.find((each) => each.name === name)
  if (resource === undefined) throw new Error(name)
  return resource
}
const contentOf = ({ alice, report }: WopiScene, name = report) => alice.filesOf(resourceNamed(name))

/** Alice changes the file herself. */
function changeAtSender({ alice, report }: WopiScene, text: string, name = report, path = ''): void {
  const body = Buffer.from(text)
  const modified = new Date(Date.now() + 5000)
  alice.treeOf(resourceNamed(name)).set(path, { body, etag: `"${text}"`, modified })
}

const collabora = (timestamp: unknown, more: Record<string, string> = {}) => ({
  ...(typeof timestamp === 'string' && { 'X-COOL-WOPI-Timestamp': timestamp }),
  'X-COOL-WOPI-IsModifiedByUser': 'true',
  'X-COOL-WOPI-IsAutosave': 'false',
  ...more,
})

const exitSave = { 'X-COOL-WOPI-IsExitSave': 'true' }

describe('a launch into an editor like Collabora', () => {
  it('turns the browser’s GET into the editor’s POST: the token is in no address, and the page is not cached', async () => {
    const scene = office()
    const opened = await scene.open()
    expect(opened.location).toMatch(/^\/office\/browser\/abc123\/cool\.html\?WOPISrc=http%3A%2F%2Fapps\.localhost/)
    expect(opened.location).not.toContain('access_token')
    const { response, page, token } = await scene.edit(opened)
    expect(page.method).toBe('POST')
    expect(page.form).toEqual({
      access_token: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
      access_token_ttl: expect.stringMatching(/^\d{13}$/),
      postmessage_origin: BOBS_CLOUD,
    })
    expect(Number(page.form.access_token_ttl)).toBeGreaterThan(Date.now())
    expect(token).not.toBe(opened.token)
    expect(page.headers.cookie ?? '').not.toContain('ocm')
    expect(response.header('cache-control')).toBe('no-store')
    expect(response.header('x-frame-options')).toBeUndefined()
    expect(response.header('content-security-policy')).toBe(
      `script-src 'self' 'unsafe-inline'; frame-ancestors ${BOBS_CLOUD} https://bob.localhost:8443`,
    )
  })

  it('opens, locks, saves, and the sender has the bytes; a second person sees them; revoking ends both', async () => {
    const scene = office()
    const editor = await scene.start()
    const info = await editor.info()
    expect(info).toMatchObject({
      BaseFileName: scene.report,
      Size: 11,
      UserCanWrite: true,
      PostMessageOrigin: BOBS_CLOUD,
    })
    expect(await editor.read()).toBe('first words')
    expect((await editor.lock('cool-lock1')).status).toBe(200)
    const saved = await editor.save('second words', 'cool-lock1', collabora(info.LastModifiedTime))
    expect(saved.status).toBe(200)
    expect(saved.json()).toEqual({ LastModifiedTime: expect.stringMatching(/Z$/) })
    expect(contentOf(scene)).toEqual({ '': 'second words' })
    const other = await scene.start({ shareWith: 'carol@carol.localhost:8444' })
    expect(other.wopiSrc).toBe(editor.wopiSrc)
    expect(await other.read()).toBe('second words')
    for (const { providerId } of [editor.opened.share, other.opened.share])
      await scene.alice.unshare(providerId, { notify: false })
    expect((await editor.call()).status).toBe(401)
    expect((await other.call()).status).toBe(401)
    expect((await editor.save('third', 'cool-lock1', collabora(undefined, exitSave))).status).toBe(401)
    expect(contentOf(scene)).toEqual({ '': 'second words' })
  })

  it('lets one editing session save with the tokens of several people', async () => {
    const scene = office()
    const [bob, carol] = [await scene.start(), await scene.start({ shareWith: 'carol@carol.localhost:8444' })]
    const info = await bob.info()
    await carol.info()
    await bob.lock('cool-lock1')
    const first = await bob.save('by bob', 'cool-lock1', collabora(info.LastModifiedTime))
    const second = await carol.save('by carol', 'cool-lock1', collabora(first.json().LastModifiedTime))
    expect([first.status, second.status]).toEqual([200, 200])
    expect(contentOf(scene)).toEqual({ '': 'by carol' })
  })

  it('gives who may only view an editor that saves nothing', async () => {
    const scene = office()
    const editor = await scene.start({ permissions: ['view'] })
    expect(await editor.info()).toMatchObject({ UserCanWrite: false, ReadOnly: true, DisableExport: true })
    expect(await editor.read()).toBe('first words')
    const lock = await editor.lock('x')
    expect([lock.status, lock.header('x-wopi-lockfailurereason')]).toEqual([409, 'The share is read-only.'])
    expect((await editor.save('no', 'x')).status).toBe(401)
    expect(contentOf(scene)).toEqual({ '': 'first words' })
  })

  it('answers 415 for a type that the editor does not open, and names those that it opens', async () => {
    const scene = office()
    const refused = await scene.open({ resource: 'Picture.xcf' }).catch((error: Error) => error.message)
    expect(refused).toMatch(/^refused: 415/)
    expect(refused).toContain('md, odt, pdf, txt, wopitest')
  })
})

describe('a shared folder', () => {
  it('opens the file that the launch names', async () => {
    const scene = office()
    const opened = await scene.open({ resource: FOLDER }, { at: '/office/.ocm/open/more/three.odt' })
    const editor = await scene.edit(opened)
    expect(await editor.info()).toMatchObject({ BaseFileName: 'three.odt' })
    expect(await editor.read()).toBe('three')
  })

  it('lists what can be opened when the launch names nothing', async () => {
    const scene = office()
    const opened = await scene.open({ resource: FOLDER })
    expect(opened.location).toBe('/office/.ocm/files/')
    const page = (await scene.visit(opened.location, opened, { headers: navigation })).body.toString()
    expect([...page.matchAll(/href="([^"]+)"/g)].map(([, href]) => href)).toEqual(['more/', 'one.odt', 'two.odt'])
    const chosen = await scene.visit('/office/.ocm/files/one.odt', opened, { headers: navigation })
    expect(chosen.status).toBe(303)
    const editor = await scene.edit({ ...opened, location: chosen.header('location') ?? '' })
    expect(await editor.read()).toBe('one')
  })

  it('puts what meets a foreign change beside the file, and the next such save in the same place', async () => {
    const scene = office()
    const opened = await scene.open({ resource: FOLDER }, { at: '/office/.ocm/open/one.odt' })
    const editor = await scene.edit(opened)
    const { LastModifiedTime } = await editor.info()
    await editor.read()
    await editor.lock('L')
    changeAtSender(scene, 'by alice', FOLDER, 'one.odt')
    for (const text of ['by bob', 'by bob, later']) {
      const refused = await editor.save(text, 'L', collabora(LastModifiedTime))
      expect([refused.status, refused.json().COOLStatusCode]).toEqual([409, 1010])
    }
    const files = contentOf(scene, FOLDER)
    const copies = Object.keys(files).filter((name) => name.includes('conflict'))
    expect(copies).toEqual([expect.stringMatching(/^one \(conflict \d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d\)\.odt$/)])
    expect(files[copies[0] ?? '']).toBe('by bob, later')
    expect(files['one.odt']).toBe('by alice')
  })
})

describe('nothing that was typed is lost', () => {
  it('keeps what meets a foreign change, answers 409 with 1010, and lets its person download it', async () => {
    const scene = office()
    const editor = await scene.start()
    const { LastModifiedTime } = await editor.info()
    await editor.read()
    await editor.lock('L')
    changeAtSender(scene, 'by alice')
    const refused = await editor.save('by bob', 'L', collabora(LastModifiedTime))
    expect(refused.status).toBe(409)
    expect(refused.json()).toEqual({ COOLStatusCode: 1010, LOOLStatusCode: 1010 })
    expect(contentOf(scene)).toEqual({ '': 'by alice' })
    const session = await scene.visit('/office/.ocm/session', editor.opened)
    const kept = session.json().kept as { name: string; size: number; url: string }[]
    expect(kept).toEqual([expect.objectContaining({ name: scene.report, size: 6 })])
    const download = await scene.visit(kept[0]?.url ?? '', editor.opened)
    expect(download.body.toString()).toBe('by bob')
    expect(download.header('content-disposition')).toBe(
      `attachment; filename*=UTF-8''${encodeURIComponent(scene.report)}`,
    )
    const stranger = await scene.open({ shareWith: 'carol@carol.localhost:8444' })
    expect((await scene.visit(kept[0]?.url ?? '', stranger)).status).toBe(404)
    const page = await scene.visit('/office/.ocm/kept/', editor.opened, { headers: navigation })
    expect(page.body.toString()).toContain('What could not be saved')
  })

  it('writes over a foreign change when the person chose to, and what was kept is not needed any more', async () => {
    const scene = office()
    const editor = await scene.start()
    const { LastModifiedTime } = await editor.info()
    await editor.lock('L')
    changeAtSender(scene, 'by alice')
    await editor.save('by bob', 'L', collabora(LastModifiedTime))
    expect((await editor.save('by bob after all', 'L', collabora(undefined))).status).toBe(200)
    expect(contentOf(scene)).toEqual({ '': 'by bob after all' })
    expect((await scene.visit('/office/.ocm/session', editor.opened)).json().kept).toEqual([])
  })

  it('sees a foreign change also where the editor sends no time', async () => {
    const scene = office()
    const editor = await scene.start()
    await editor.read()
    await editor.lock('L')
    changeAtSender(scene, 'by alice')
    expect((await editor.save('by bob', 'L')).status).toBe(409)
    expect(contentOf(scene)).toEqual({ '': 'by alice' })
  })

  it('takes the exit save and the unlocking of a session that has just expired, and nothing else', async () => {
    const scene = await startWopiScene({ sessions: { maxAge: '3s' } })
    const editor = await scene.start()
    await editor.lock('L')
    await scene.gateway.event('session.ended')
    expect((await editor.call()).status).toBe(401)
    expect((await editor.save('not the last', 'L', collabora(undefined))).status).toBe(401)
    expect((await editor.save('last words', 'L', collabora(undefined, exitSave))).status).toBe(200)
    expect((await editor.unlock('L')).status).toBe(200)
    expect(contentOf(scene)).toEqual({ '': 'last words' })
  })

  it('keeps a save after the sender’s token has ended', async () => {
    const scene = await startWopiScene({ tokenSeconds: 4 })
    const editor = await scene.start()
    const { LastModifiedTime } = await editor.info()
    await editor.lock('L')
    await until('the token has ended', async () => (await editor.call()).status === 401, 10)
    expect((await editor.save('too late', 'L', collabora(LastModifiedTime))).status).toBe(401)
    const { kept } = (await scene.visit('/office/.ocm/session', editor.opened)).json()
    expect(kept).toEqual([expect.objectContaining({ name: scene.report, size: 8 })])
  })

  it('adopts the lock of an editor that holds one while ours is lost, when nothing changed', async () => {
    const scene = office()
    const editor = await scene.start()
    const { LastModifiedTime } = await editor.info()
    expect((await editor.save('adopted', 'never-locked', collabora(LastModifiedTime))).status).toBe(200)
    const lock = await editor.call({ override: 'GET_LOCK' })
    expect(lock.header('x-wopi-lock')).toBe('never-locked')
  })
})

describe('what is not served', () => {
  const foreign = 'http://apps.localhost/office/wopi/files/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'

  it('a WebSocket needs the cookie, the own origin, and a WOPISrc in every copy that is this session’s', async () => {
    const scene = office()
    const { opened, wopiSrc, token } = await scene.start()
    const encoded = encodeURIComponent(`${wopiSrc}?access_token=${token}&access_token_ttl=0`)
    const hex = `0x${Buffer.from(`${wopiSrc}?access_token=${token}`).toString('hex')}`
    const source = encodeURIComponent(wopiSrc)
    const open = (target: string, cookie?: string) =>
      openWebSocket(scene.gateway, `/office/cool/${target}`, cookie === undefined ? {} : { cookie })
    for (const target of [
      `${encoded}/ws?WOPISrc=${source}&compat=/ws`,
      `${hex}/ws?WOPISrc=${source}&compat=/ws`,
      `ws?WOPISrc=${source}&access_token=${token}`,
    ]) {
      const socket = await open(target, opened.cookie)
      expect(socket.status, target).toBe(101)
      expect(await socket.echo('load')).toBe('editor: load')
      expect(scene.editor.seen).toContain(`UPGRADE /office/cool/${target}`)
      socket.socket.terminate()
      expect((await open(target)).status, target).toBe(401)
    }
    for (const target of [
      'ws',
      `${encoded}/ws?WOPISrc=${encodeURIComponent(foreign)}`,
      `${encodeURIComponent(`${foreign}?access_token=x`)}/ws?WOPISrc=${source}`,
      `ws?WOPISrc=${source}&wopisrc=${encodeURIComponent(foreign)}`,
      `ws?%57OPISrc=${encodeURIComponent(foreign)}&WOPISrc=${source}`,
    ])
      expect((await open(target, opened.cookie)).status, target).toBe(403)
  })

  it('an open WebSocket of a revoked share is cut', async () => {
    const scene = office()
    const { opened, wopiSrc } = await scene.start()
    const target = `/office/cool/ws?WOPISrc=${encodeURIComponent(wopiSrc)}`
    const socket = await openWebSocket(scene.gateway, target, { cookie: opened.cookie })
    expect(socket.status).toBe(101)
    await scene.alice.unshare(opened.share.providerId, { notify: false })
    await socket.closed
  })

  it('what is not for browsers is refused, in every spelling, and never reaches the editor', async () => {
    const scene = office()
    const opened = await scene.open()
    for (const path of [
      'hosting/discovery',
      'hosting/capabilities',
      'hosting/wopiAccessCheck',
      'cool/convert-to',
      'cool/convert-to/pdf',
      'cool//convert-to',
      'COOL/Convert-To',
      'cool/adminws',
      'browser/dist/admin/admin.html',
      'ConvertService.ashx',
      '9.0.0-abc/ConvertService.ashx',
    ]) {
      expect((await scene.visit(`/office/${path}?x`, opened)).status, path).toBe(403)
      expect((await scene.send(`/office/${path}?x`)).status, path).toBe(401)
      expect(scene.editor.seen).not.toContain(`GET /office/${path}?x`)
    }
  })

  it('the editor’s static files need no session; its page, and everything else, does', async () => {
    const scene = office()
    const asset = await scene.send('/office/browser/abc123/dist/bundle.js')
    expect([asset.status, asset.header('cache-control')]).toEqual([200, 'max-age=11059200'])
    expect((await scene.send('/office/browser/abc123/cool.html')).status).toBe(401)
    expect((await scene.send('/office/cool/clipboard')).status).toBe(401)
  })

  it('a form that is posted straight to the editor’s page is refused, also from the own origin', async () => {
    const scene = office()
    const { opened } = await scene.start()
    const pages = scene.editor.pages.length
    for (const origin of [scene.gateway.origin, 'http://evil.localhost']) {
      const posted = await scene.visit(opened.location, opened, {
        method: 'POST',
        headers: { origin, 'Content-Type': 'application/x-www-form-urlencoded' },
        body: 'access_token=x&access_header=y',
      })
      expect(posted.status).toBe(403)
    }
    expect(scene.editor.pages).toHaveLength(pages)
  })

  it('a page for another document than the session’s is refused', async () => {
    const scene = office()
    const opened = await scene.open()
    const target = `/office/browser/abc123/cool.html?WOPISrc=${encodeURIComponent(foreign)}`
    expect((await scene.visit(target, opened, { headers: navigation })).status).toBe(403)
    expect(scene.editor.pages.filter(({ target: asked }) => asked === target)).toEqual([])
  })

  it('an access token of one file opens no other', async () => {
    const scene = office()
    const [one, two] = [await scene.start(), await scene.start({ resource: 'Empty.wopitest' })]
    expect((await one.call({ token: two.token })).status).toBe(404)
    expect((await one.call({ token: 'made-up' })).status).toBe(401)
    expect((await one.call({ token: one.opened.token })).status).toBe(401)
  })
})

it('an access token kept for WebDAV is read from a stolen database: sealed, and WOPI tokens as hashes only', async () => {
  const scene = office()
  const editor = await scene.start()
  changeAtSender(scene, 'by alice')
  await editor.lock('L')
  await editor.save('a secret sentence', 'L', collabora('2001-01-01T00:00:00.000Z'))
  expect((await scene.visit('/office/.ocm/session', editor.opened)).json().kept).toHaveLength(1)
  keepSecret(editor.token)
  const { folder } = scene.gateway
  const bytes = readdirSync(folder)
    .filter((name) => name.startsWith('gateway.db'))
    .map((name) => readFileSync(join(folder, name)))
  expect(bytes.flatMap(secretsIn)).toEqual([])
  expect(bytes.some((each) => each.includes('a secret sentence'))).toBe(false)
})

describe('proofs', () => {
  it('a leaked token is worth nothing without the editor’s key, where proofs are required', async () => {
    const scene = await startWopiScene({ wopi: { proof: 'require' } })
    const editor = await scene.start()
    expect((await editor.call()).status).toBe(200)
    expect((await editor.call({ sign: false })).status).toBe(500)
  })

  it('an editor that was installed anew is asked for its keys', async () => {
    const scene = await startWopiScene({ wopi: { proof: 'require' } })
    const editor = await scene.start()
    expect((await editor.call()).status).toBe(200)
    scene.editor.rekey()
    // What it signs with the key of before still counts; then its keys are asked for, but not more often than twice a minute.
    expect((await editor.call()).status).toBe(200)
  })

  it('an editor without keys is served unless they are required', async () => {
    const scene = await startWopiScene({ editor: { signs: false } })
    const editor = await scene.start()
    expect((await editor.call({ sign: false })).status).toBe(200)
  })
})

describe('places', () => {
  it('serves the WOPI endpoints on a host of their own, and nothing else there', async () => {
    const scene = await startWopiScene({
      wopiAt: ({ port }) => ({ hostUrl: `http://wopi.localhost:${port}/internal/` }),
    })
    const editor = await scene.start()
    expect(editor.wopiSrc).toMatch(/^http:\/\/wopi\.localhost:\d+\/internal\/wopi\/files\//)
    expect((await editor.call()).status).toBe(200)
    const host = new URL(editor.wopiSrc).host
    for (const target of ['/', '/ocm', '/office/.ocm/open', '/internal/', '/.well-known/jwks.json'])
      expect((await send(scene.gateway, target, { headers: { Host: host } })).status, target).toBe(404)
  })

  it('opens two documents side by side, each with its own session', async () => {
    const scene = office()
    const [one, two] = [await scene.start(), await scene.start({ resource: 'Empty.wopitest' })]
    const cookie = `${one.opened.cookie}; ${two.opened.cookie}`
    for (const { wopiSrc } of [one, two]) {
      const target = `/office/cool/ws?WOPISrc=${encodeURIComponent(wopiSrc)}`
      const socket = await openWebSocket(scene.gateway, target, { cookie })
      expect(socket.status).toBe(101)
      socket.socket.terminate()
    }
  })
})

describe('an editor like OnlyOffice', () => {
  it('gets its placeholders filled in, and saves with its own headers', async () => {
    const scene = await startWopiScene({ editor: { flavour: 'onlyoffice', base: '/' } })
    const opened = await scene.open()
    expect(opened.location).toMatch(/^\/hosting\/wopi\/word\/edit\?wopisrc=http/)
    const editor = await scene.edit(opened)
    const { LastModifiedTime } = await editor.info()
    await editor.lock('doc-key')
    const headers = { 'X-LOOL-WOPI-Timestamp': String(LastModifiedTime), 'X-LOOL-WOPI-IsModifiedByUser': 'true' }
    expect((await editor.save('from onlyoffice', 'doc-key', headers)).status).toBe(200)
    expect((await editor.call({ override: 'REFRESH_LOCK', lock: 'doc-key' })).status).toBe(200)
    expect(contentOf(scene)).toEqual({ '': 'from onlyoffice' })
    const key = editor.wopiSrc.split('/').at(-1)
    const open = (id: string) => openWebSocket(scene.gateway, `/doc/${id}/c/?EIO=4`, { cookie: opened.cookie })
    const socket = await open(key ?? '')
    expect(socket.status).toBe(101)
    socket.socket.terminate()
    expect((await open('somebody-elses')).status).toBe(403)
  })
})

describe('passthrough', () => {
  const wopi = { mode: 'passthrough' }
  const sourceOf = ({ alice }: WopiScene) => `${alice.url}/wopi/files/17`

  it('opens the sender’s own WOPI document with the sender’s token', async () => {
    const scene = await startWopiScene({ wopi })
    const at = `/office/.ocm/open?WOPISrc=${encodeURIComponent(sourceOf(scene))}`
    const opened = await scene.open({ uri: scene.gateway.origin + at }, { at })
    expect(opened.location).toBe(`/office/browser/abc123/cool.html?WOPISrc=${encodeURIComponent(sourceOf(scene))}`)
    const { page } = await scene.edit(opened)
    expect(page.form.access_token).toBe(opened.token)
    const socket = (source: string) =>
      openWebSocket(scene.gateway, `/office/cool/ws?WOPISrc=${encodeURIComponent(source)}`, { cookie: opened.cookie })
    const own = await socket(sourceOf(scene))
    expect(own.status).toBe(101)
    own.socket.terminate()
    expect((await socket(`${sourceOf(scene)}8`)).status).toBe(403)
  })

  it.each([
    ['no document', ''],
    ['another host', '?WOPISrc=http%3A%2F%2Fevil.localhost%2Fwopi%2Ffiles%2F17'],
    ['two documents', '?WOPISrc=x&wopisrc=y'],
    ['no URL', '?WOPISrc=wopi%2Ffiles%2F17'],
  ])('refuses a launch that names %s', async (_what, query) => {
    const scene = await startWopiScene({ wopi })
    const at = `/office/.ocm/open${query}`
    const refused = await scene.open({}, { at }).catch((error: Error) => error.message)
    expect(refused).toMatch(/^refused: 40[03]/)
    expect(scene.editor.pages).toEqual([])
  })

  it('serves no WOPI endpoints', async () => {
    const scene = await startWopiScene({ wopi })
    expect((await scene.send(`/office/wopi/files/${'A'.repeat(43)}?access_token=x`)).status).toBe(401)
  })
})
