import express, { type ErrorRequestHandler } from 'express'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createOutbound } from '../../../src/core/outbound.ts'
import { Secret } from '../../../src/core/secret.ts'
import { makeFile, type Tree, webdav } from '../../../src/demo/webdav.ts'
import { childUrl, ResourceError, siblingUrl } from '../../../src/resources/resource.ts'
import { createWebdav } from '../../../src/resources/webdav.ts'
import { serving } from '../serving.ts'

/** A resource below `/dav/my%20share` of a real WebDAV server. */
async function sharing(entries: Record<string, string | 'folder'>, { canWrite = true } = {}) {
  const tree: Tree = new Map()
  for (const [path, text] of Object.entries(entries)) tree.set(path, text === 'folder' ? 'folder' : makeFile(text))
  const bearers: (string | undefined)[] = []
  const app = express()
  app.use(express.raw({ type: () => true, limit: '100mb' }))
  app.use(
    webdav((req) => {
      bearers.push(req.headers.authorization)
      return { tree, canWrite, root: '/dav/my share' }
    }),
  )
  const failing: ErrorRequestHandler = ({ status = 500 }, _req, res, _next) => void res.status(status).end()
  app.use(failing)
  const origin = await serving(app)
  return { ...reach(`${origin}/dav/my%20share`), tree, bearers, origin }
}

function reach(url: string, token: string | undefined = 'secret-token') {
  const outbound = createOutbound({ insecureLoopback: true })
  onTestFinished(() => outbound.destroy())
  const resource = createWebdav({
    url,
    outbound,
    operatorNamed: true,
    token: async () => (token === undefined ? undefined : new Secret(token)),
  })
  return { resource, url }
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

const failing = (failure: string, status?: number) => ({ name: 'ResourceError', failure, ...(status && { status }) })

describe('a shared folder', () => {
  const FOLDER = {
    '': 'folder',
    'a.txt': 'one',
    'häßlich #1 50%.txt': 'two',
    'sub/': 'folder',
    'sub/c.txt': 'three',
  } as const

  it('lists its members with decoded names, and not itself', async () => {
    const { resource, url } = await sharing(FOLDER)
    const members = await resource.list(url)
    expect(members.map(({ name, isFolder, size }) => ({ name, isFolder, size }))).toEqual([
      { name: 'a.txt', isFolder: false, size: 3 },
      { name: 'häßlich #1 50%.txt', isFolder: false, size: 3 },
      { name: 'sub', isFolder: true, size: undefined },
    ])
    expect(members[2]?.url).toBe(`${url}/sub/`)
    expect((await resource.list(members[2]?.url ?? '')).map(({ name }) => name)).toEqual(['c.txt'])
  })

  it('tells size, ETag and time of a file, and nothing about what is not there', async () => {
    const { resource, url, tree } = await sharing(FOLDER)
    const file = childUrl(url, 'häßlich #1 50%.txt')
    const stored = tree.get('häßlich #1 50%.txt')
    expect(await resource.stat(file)).toMatchObject({
      isFolder: false,
      size: 3,
      etag: stored !== 'folder' && stored?.etag,
    })
    expect(await resource.stat(childUrl(url, 'missing'))).toBeUndefined()
    expect(await resource.stat(url)).toMatchObject({ isFolder: true, url: `${url}/` })
  })

  it('gives every request the token of that moment', async () => {
    const { url, bearers } = await sharing(FOLDER)
    const tokens = ['t1', 't2'].values()
    const outbound = createOutbound({ insecureLoopback: true })
    onTestFinished(() => outbound.destroy())
    const resource = createWebdav({
      url,
      outbound,
      operatorNamed: true,
      token: async () => new Secret(tokens.next().value ?? ''),
    })
    await resource.stat(url)
    await resource.stat(url)
    expect(bearers).toEqual(['Bearer t1', 'Bearer t2'])
  })

  it('reads and writes whole and streamed bodies', async () => {
    const { resource, url, tree } = await sharing(FOLDER)
    const file = childUrl(url, 'sub', 'new.txt')
    async function* chunks() {
      yield Buffer.from('first ')
      yield Buffer.from('second')
    }
    const { etag } = await resource.write(file, chunks(), { size: 12, onlyNew: true })
    const reading = await resource.read(file)
    expect(reading).toMatchObject({ size: 12, etag })
    expect(await textOf(reading.body)).toBe('first second')
    await resource.write(file, Buffer.from('third'), { ifMatch: etag })
    expect(tree.get('sub/new.txt')).toMatchObject({ body: Buffer.from('third') })
  })

  it('says changed when the file is not what it was, and writes nothing', async () => {
    const { resource, url, tree } = await sharing(FOLDER)
    const file = childUrl(url, 'a.txt')
    await expect(resource.write(file, Buffer.from('x'), { ifMatch: '"old"' })).rejects.toMatchObject(
      failing('changed', 412),
    )
    await expect(resource.write(file, Buffer.from('x'), { onlyNew: true })).rejects.toMatchObject(
      failing('changed', 412),
    )
    await expect(resource.remove(file, { ifMatch: '"old"' })).rejects.toMatchObject(failing('changed'))
    expect(tree.get('a.txt')).toMatchObject({ body: Buffer.from('one') })
  })

  it('makes folders, moves without overwriting, and removes', async () => {
    const { resource, url, tree } = await sharing(FOLDER)
    await resource.makeFolder(`${childUrl(url, 'neu ü')}/`)
    await resource.move(childUrl(url, 'a.txt'), childUrl(url, 'neu ü', 'b.txt'))
    expect([...tree.keys()]).toContain('neu ü/b.txt')
    await expect(resource.move(childUrl(url, 'sub', 'c.txt'), childUrl(url, 'neu ü', 'b.txt'))).rejects.toMatchObject(
      failing('changed'),
    )
    await expect(resource.makeFolder(`${childUrl(url, 'sub')}/`)).rejects.toMatchObject(failing('misplaced'))
    await expect(resource.write(childUrl(url, 'no', 'x'), Buffer.from('x'))).rejects.toMatchObject(failing('misplaced'))
    await resource.remove(childUrl(url, 'neu ü'))
    expect([...tree.keys()]).not.toContain('neu ü/b.txt')
  })

  it('says forbidden where the share may only be read, and has no locks where the server has none', async () => {
    const { resource, url } = await sharing(FOLDER, { canWrite: false })
    await expect(resource.write(childUrl(url, 'a.txt'), Buffer.from('x'))).rejects.toMatchObject(failing('forbidden'))
    expect(await resource.lock(childUrl(url, 'a.txt'), { seconds: 60, owner: 'bob' })).toBeUndefined()
  })
})

describe('a hostile or broken server', () => {
  const refusals = [
    [401, 'token-ended'],
    [403, 'forbidden'],
    [413, 'too-large'],
    [423, 'locked'],
    [429, 'unreachable'],
    [500, 'unreachable'],
    [507, 'full'],
    [302, 'refused'],
  ] as const

  it.each(refusals)('status %i means %s', async (status, failure) => {
    const { resource, url } = reach(
      await serving((_req, res) => void res.writeHead(status, { location: 'http://127.0.0.1:1/' }).end()),
    )
    await expect(resource.read(url)).rejects.toMatchObject(failing(failure, status))
  })

  it('gets no token for another origin, by no operation', async () => {
    const asked: string[] = []
    const other = await serving((req, res) => {
      asked.push(req.url ?? '')
      res.end()
    })
    const { resource, url } = await sharing({ '': 'folder' })
    for (const work of [
      resource.stat(other),
      resource.read(other),
      resource.write(other, Buffer.from('x')),
      resource.move(url, other),
    ])
      await expect(work).rejects.toBeInstanceOf(ResourceError)
    expect(asked).toEqual([])
  })

  it('is not followed to where it redirects, except to the folder’s own slash', async () => {
    const asked: string[] = []
    const { resource, url } = reach(
      `${await serving((req, res) => {
        asked.push(req.url ?? '')
        if (req.url === '/folder') return void res.writeHead(301, { location: '/folder/' }).end()
        if (req.url === '/trap') return void res.writeHead(301, { location: '/elsewhere/' }).end()
        res
          .writeHead(207)
          .end(
            '<d:multistatus xmlns:d="DAV:"><d:response><d:href>/folder/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>',
          )
      })}/folder`,
    )
    expect(await resource.stat(url)).toMatchObject({ isFolder: true })
    await expect(resource.stat(url.replace('/folder', '/trap'))).rejects.toMatchObject(failing('refused', 301))
    expect(asked).toEqual(['/folder', '/folder/', '/trap'])
  })

  it('makes us list no member of another folder or origin, nor one whose name is a path', async () => {
    const hrefs = ['/f/ok', '/g/no', 'http://evil.example/f/no', '/f/a%2fb', '/f/x/y', '/f/%ff', '/f/../g', '/f/']
    const xml = `<multistatus xmlns="DAV:">${hrefs
      .map(
        (href) =>
          `<response><href>${href}</href><propstat><prop><resourcetype/><getetag>1e5</getetag></prop><status>HTTP/1.1 200 OK</status></propstat></response>`,
      )
      .join('')}</multistatus>`
    const { resource, url } = reach(`${await serving((_req, res) => void res.writeHead(207).end(xml))}/f/`)
    const members = await resource.list(url)
    expect(members.map(({ name, etag }) => ({ name, etag }))).toEqual([{ name: 'ok', etag: undefined }])
  })

  it.each([
    ['no XML', 'hello'],
    ['another document', '<html><body>Sign in</body></html>'],
    ['nothing', ''],
    [
      'an entity bomb',
      '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><multistatus xmlns="DAV:"><response><href>&b;</href></response></multistatus>',
    ],
  ])('that lists %s is refused or lists nothing', async (_what, xml) => {
    const { resource, url } = reach(`${await serving((_req, res) => void res.writeHead(207).end(xml))}/f/`)
    const members = await resource.list(url).catch((error: unknown) => {
      expect(error).toMatchObject(failing('refused'))
      return []
    })
    expect(members).toEqual([])
  })

  it('may have thousands of members whose names need XML escapes', async () => {
    const member = (index: number) =>
      `<response><href>/f/a&amp;b&#x20;${index}</href><propstat><prop><resourcetype/></prop><status>HTTP/1.1 200 OK</status></propstat></response>`
    const xml = `<multistatus xmlns="DAV:">${Array.from({ length: 5000 }, (_, index) => member(index)).join('')}</multistatus>`
    const { resource, url } = reach(`${await serving((_req, res) => void res.writeHead(207).end(xml))}/f/`)
    const members = await resource.list(url)
    expect(members).toHaveLength(5000)
    expect(members[4999]?.name).toBe('a&b 4999')
  })

  it('that cuts its answer is unreachable', async () => {
    const { resource, url } = reach(
      await serving((_req, res) => {
        res.writeHead(200, { 'content-length': '100' })
        res.write('half')
        setImmediate(() => res.destroy())
      }),
    )
    const { body } = await resource.read(url)
    await expect(textOf(body)).rejects.toMatchObject(failing('unreachable'))
  })

  it('is not asked at all without a token', async () => {
    const outbound = createOutbound({ insecureLoopback: true })
    const resource = createWebdav({
      url: 'http://127.0.0.1:1/',
      outbound,
      operatorNamed: true,
      token: async () => undefined,
    })
    await expect(resource.stat('http://127.0.0.1:1/')).rejects.toMatchObject(failing('token-ended'))
  })
})

it('encodes names into URLs', () => {
  expect(childUrl('https://a.example/dav', 'x y', 'ü#?%.txt')).toBe('https://a.example/dav/x%20y/%C3%BC%23%3F%25.txt')
  expect(siblingUrl('https://a.example/dav/x%20y', 'z 1')).toBe('https://a.example/dav/z%201')
  expect(siblingUrl('https://a.example/dav/folder/', 'z')).toBe('https://a.example/dav/z')
})

it.each(['..', '.', '', '\ud800'])('a name like %j leads nowhere', (name) => {
  expect(() => childUrl('https://a.example/dav/share', 'folder', name)).toThrow(ResourceError)
  expect(() => siblingUrl('https://a.example/dav/share', name)).toThrow(ResourceError)
})
