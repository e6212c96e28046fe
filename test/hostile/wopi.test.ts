import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { bytesOf, navigation, openWebSocket, type Sent } from '../flow/harness.ts'
import { openConnection } from '../flow/raw-http.ts'
import { until } from '../flow/until.ts'
import { RESOURCES, sharedWopiScene, type WopiScene } from '../flow/wopi-scene.ts'

const office = sharedWopiScene()

type Office = ReturnType<typeof office>
type Started = Awaited<ReturnType<WopiScene['start']>>

function contentOf({ alice, report }: Office): Record<string, string> {
  const resource = RESOURCES.find(({ name }) => name === report)
  if (resource === undefined) throw new Error(report)
  return alice.filesOf(resource)
}

const pathOf = ({ wopiSrc }: Started) => new URL(wopiSrc).pathname
const hostOf = ({ wopiSrc }: Started) => new URL(wopiSrc).host

/** A PutFile of which the half has come. */
function saveSlowly({ gateway }: Office, editor: Started, headers: Record<string, string>) {
  const connection = openConnection(gateway.port)
  const target = `${pathOf(editor)}/contents?access_token=${editor.token}`
  const all = { Host: hostOf(editor), 'X-WOPI-Override': 'PUT', 'X-WOPI-Lock': 'A', 'Content-Length': '20', ...headers }
  connection.write(bytesOf(gateway, target, { method: 'POST', headers: all, body: 'half of it' }))
  return connection
}

describe('a save that is under way', () => {
  const endings: Record<string, (scene: Office, editor: Started) => Promise<unknown>> = {
    'is revoked': ({ alice }, { opened }) => alice.unshare(opened.share.providerId, { notify: false }),
    'becomes read-only': ({ alice }, { opened: { share } }) =>
      alice.provision(alice.notification({ ...share, permissions: ['read'] })),
  }
  const saves: Record<string, Record<string, string>> = {
    'any save': {},
    'the last one of an editor': { 'X-COOL-WOPI-IsExitSave': 'true' },
  }
  const cases = Object.keys(endings).flatMap((ending) => Object.keys(saves).map((save) => [ending, save] as const))

  it.each(cases)('when its share %s is cut, and nothing of it gets to the sender: %s', async (ending, save) => {
    const scene = office()
    const editor = await scene.start()
    await editor.read()
    await editor.lock('A')
    const connection = saveSlowly(scene, editor, saves[save] ?? {})
    await pause(200)
    await endings[ending]?.(scene, editor)
    await connection.closed
    expect(contentOf(scene)).toEqual({ '': 'first words' })
  })
})

describe('who has no token', () => {
  it('cannot make us read for long', async () => {
    const scene = office()
    const editor = await scene.start()
    const connection = openConnection(scene.gateway.port)
    const lines = [`POST ${pathOf(editor)}/contents HTTP/1.1`, `Host: ${hostOf(editor)}`, 'X-WOPI-Override: PUT']
    connection.write(`${lines.join('\r\n')}\r\nTransfer-Encoding: chunked\r\n\r\n`)
    let [sent, over] = [0, false]
    void connection.closed.then(() => {
      over = true
    })
    const chunk = `100000\r\n${'x'.repeat(1024 * 1024)}\r\n`
    await until('the connection is closed', async () => {
      if (!over) await new Promise((resolve) => connection.socket.write(chunk, resolve))
      sent += 1
      return over
    })
    expect(sent).toBeLessThan(64)
    connection.socket.destroy()
  })
})

describe('a call that no editor makes', () => {
  /** `AT` is the file, `TOKEN` its token. */
  const odd: readonly { what: string; status: number; target: string; sent?: Sent }[] = [
    { what: 'another method', status: 400, target: 'AT?access_token=TOKEN', sent: { method: 'DELETE' } },
    { what: 'HEAD', status: 400, target: 'AT?access_token=TOKEN', sent: { method: 'HEAD' } },
    { what: 'an encoded slash', status: 404, target: 'AT%2fcontents?access_token=TOKEN' },
    { what: 'a path parameter', status: 404, target: 'AT;x?access_token=TOKEN' },
    { what: 'a slash at the end', status: 404, target: 'AT/contents/?access_token=TOKEN' },
    { what: 'a token in a second copy', status: 401, target: 'AT?access_token=x&access_token=TOKEN' },
    { what: 'a token behind an encoded name', status: 401, target: 'AT?%61ccess_token=x&access_token=TOKEN' },
    { what: 'an empty signature', status: 500, target: 'AT?access_token=TOKEN', sent: signed('') },
    { what: 'a signature without its time', status: 500, target: 'AT?access_token=TOKEN', sent: signed('AAAA') },
    { what: 'a word of JavaScript’s', status: 501, target: 'AT?access_token=TOKEN', sent: overriding('__proto__') },
    { what: 'a lock beyond ASCII', status: 400, target: 'AT?access_token=TOKEN', sent: overriding('LOCK', '\u00ff') },
  ]

  it.each(odd)('$what: $status', async ({ status, target, sent = {} }) => {
    const scene = office()
    const editor = await scene.start()
    const at = target.replace('AT', pathOf(editor)).replace('TOKEN', editor.token)
    const headers = { Host: hostOf(editor), ...sent.headers }
    expect((await scene.send(at, { ...sent, headers })).status).toBe(status)
  })

  function signed(proof: string): Sent {
    return { headers: { 'X-WOPI-Proof': proof } }
  }

  function overriding(operation: string, lock = 'A'): Sent {
    return { method: 'POST', headers: { 'X-WOPI-Override': operation, 'X-WOPI-Lock': lock } }
  }
})

describe('a document of somebody else', () => {
  it('is reached by no spelling of the editor’s paths', async () => {
    const scene = office()
    const { opened, wopiSrc } = await scene.start()
    const foreign = encodeURIComponent(`${wopiSrc.slice(0, -1)}!?access_token=x`)
    const { cookie } = opened
    for (const path of [
      `/cool/${foreign}/ws`,
      `cool//${foreign}/ws`,
      `%63ool/${foreign}/ws`,
      `cool;x/${foreign}/ws`,
      `cool%2f${foreign}/ws`,
      'cool/ws/',
      '%63ool/%77s',
    ]) {
      const { status, socket } = await openWebSocket(scene.gateway, `/office/${path}`, { cookie })
      expect(status, path).toBe(403)
      expect(scene.editor.seen).not.toContain(`UPGRADE /office/${path}`)
      socket.terminate()
    }
  })

  it('a page of the editor’s further down takes no form and needs a session, too', async () => {
    const scene = office()
    const { opened } = await scene.start()
    const target = '/office/browser/abc123/deeper/cool.html'
    expect((await scene.send(target, { headers: navigation })).status).toBe(303)
    const headers = { Origin: scene.gateway.origin, 'Content-Type': 'application/x-www-form-urlencoded' }
    const posted = await scene.visit(target, opened, { method: 'POST', headers, body: 'access_token=x' })
    expect(posted.status).toBe(403)
  })
})
