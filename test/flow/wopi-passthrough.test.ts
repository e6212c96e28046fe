import { describe, expect, it } from 'vitest'
import { openWebSocket } from './harness.ts'
import { startWopiScene, type WopiScene } from './wopi-scene.ts'

const wopi = { mode: 'passthrough' }
const atFor = (query: string) => `/office/.ocm/open${query}`
const asking = (source: string) => `?WOPISrc=${encodeURIComponent(source)}`

/** Addresses that are not the document’s, however alike they look to one reader or another. */
const nearMisses = (own: string): [string, string][] => {
  const { protocol, host, pathname } = new URL(own)
  return [
    ['another document', `${own}8`],
    ['the beginning of its address', own.slice(0, -1)],
    ['a slash more', `${own}/`],
    ['what is below it', `${own}/contents`],
    ['a step away from it', `${own}/../18`],
    ['an encoded step away from it', `${own}/%2e%2e/18`],
    ['other letters in the path', own.replace('/files/', '/Files/')],
    ['two slashes', own.replace('/files/', '//files/')],
    ['an encoded slash', own.replace('/files/', '%2Ffiles%2F')],
    ['an encoded letter', own.replace('/files/', '/%66iles/')],
    ['what is encoded twice', encodeURIComponent(own)],
    ['another port', `${protocol}//${host.replace(/:\d+/, ':1')}${pathname}`],
    ['no port', `${protocol}//${host.replace(/:\d+/, '')}${pathname}`],
    ['another scheme', own.replace(/^http:/, 'https:')],
    ['a name before the host', own.replace('//', '//somebody@')],
    ['a host that only begins alike', own.replace(host, `${host.replace(/:/, '.evil.localhost:')}`)],
    ['a host that only ends alike', own.replace(host, `evil-${host}`)],
    ['a host with a dot at its end', own.replace(host, host.replace(/:/, '.:'))],
  ]
}

const sourceOf = ({ alice }: WopiScene) => `${alice.url}/wopi/files/17`

/** What becomes of a launch at this query, of a share whose `webapp.uri` has that one. */
async function launched(scene: WopiScene, query: string, shared = asking(sourceOf(scene))): Promise<string> {
  const uri = scene.gateway.origin + atFor(shared)
  return scene.open({ uri }, { at: atFor(query) }).then(
    ({ status }) => String(status),
    (error: Error) => /refused: (\d+)/.exec(error.message)?.[1] ?? error.message,
  )
}

describe('passthrough: the document of the share, and no other', () => {
  it('is opened by a launch that names it as the share does, also in another spelling of the same address', async () => {
    const scene = await startWopiScene({ wopi })
    const own = sourceOf(scene)
    const { host } = new URL(own)
    for (const same of [own, own.replace(host, host.toUpperCase()), own.replace('http:', 'HTTP:')])
      expect(await launched(scene, asking(same)), same).toBe('303')
    expect(await launched(scene, `?wopisrc=${encodeURIComponent(own)}`)).toBe('303')
    expect(await launched(scene, asking(own), `?wopisrc=${encodeURIComponent(own)}&more=1`)).toBe('303')
  })

  it('is not opened by a launch that names something like it', async () => {
    const scene = await startWopiScene({ wopi })
    for (const [what, source] of nearMisses(sourceOf(scene)))
      expect(await launched(scene, asking(source)), `${what}: ${source}`).toMatch(/^40[03]$/)
    for (const tail of ['#x', '?x', '?access_token=x'])
      expect(await launched(scene, asking(sourceOf(scene) + tail)), tail).toMatch(/^40[03]$/)
    const own = encodeURIComponent(sourceOf(scene))
    for (const query of ['', '?', '?WOPISrc', `?WOPISrc=${own}&WOPISRC=${own}`, `?WOPISrc[]=${own}`])
      expect(await launched(scene, query), query).toBe('400')
    expect(scene.editor.pages).toEqual([])
  })

  it('is not opened when the share names two, or what is no address', async () => {
    const scene = await startWopiScene({ wopi })
    const own = sourceOf(scene)
    expect(await launched(scene, asking(own), `${asking(own)}&wopisrc=${encodeURIComponent(`${own}8`)}`)).toBe('403')
    expect(await launched(scene, asking(own), '?WOPISrc=files%2F17')).toBe('403')
  })

  it('of a share that names none, is any of the sender’s own host: its token says which', async () => {
    const scene = await startWopiScene({ wopi })
    expect(await launched(scene, asking(sourceOf(scene)), '')).toBe('303')
    expect(await launched(scene, asking('http://evil.localhost/wopi/files/17'), '')).toBe('403')
  })

  it('of a host that the operator has allowed, must be the share’s all the same', async () => {
    const scene = await startWopiScene({ wopi: { ...wopi, allowedHosts: ['wopi.localhost:9000'] } })
    const [own, other] = ['http://wopi.localhost:9000/wopi/files/17', 'http://wopi.localhost:9000/wopi/files/18']
    expect(await launched(scene, asking(own), asking(own))).toBe('303')
    expect(await launched(scene, asking(other), asking(own))).toBe('403')
    expect(await launched(scene, asking(sourceOf(scene)), asking(own))).toBe('403')
  })

  it('is the only one for WebSockets and pages, in every copy of its address', async () => {
    const scene = await startWopiScene({ wopi })
    const own = sourceOf(scene)
    const at = atFor(asking(own))
    const opened = await scene.open({ uri: scene.gateway.origin + at }, { at })
    const open = async (target: string) => {
      const { status, socket } = await openWebSocket(scene.gateway, `/office/cool/${target}`, { cookie: opened.cookie })
      socket.terminate()
      return status
    }
    const spelled = encodeURIComponent
    expect(await open(`${spelled(`${own}?access_token=x`)}/ws?WOPISrc=${spelled(own)}`)).toBe(101)
    for (const [what, source] of nearMisses(own)) {
      const hex = `0x${Buffer.from(`${source}?access_token=x`).toString('hex')}`
      for (const target of [
        `ws?WOPISrc=${spelled(source)}`,
        `${spelled(`${source}?access_token=x`)}/ws?WOPISrc=${spelled(own)}`,
        `${hex}/ws?WOPISrc=${spelled(own)}`,
        `${spelled(`${own}?access_token=x`)}/ws?WOPISrc=${spelled(source)}`,
      ])
        expect([400, 403], `${what}: ${target}`).toContain(await open(target))
      const page = await scene.visit(`/office/browser/abc123/cool.html?WOPISrc=${spelled(source)}`, opened)
      expect(page.status, what).toBe(403)
    }
    expect(scene.editor.pages).toEqual([])
  })
})
