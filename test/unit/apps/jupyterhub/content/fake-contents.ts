import type { IncomingMessage, ServerResponse } from 'node:http'
import { close, listen } from '../../../../../src/demo/listen.ts'

export const TOKEN = 'server-token-0123456789abcdef'

interface Item {
  /** `undefined`: a folder. */
  readonly body: Buffer | undefined
  readonly modified: string
}

/** The contents API of a server, as far as the gateway uses it, over files in memory; every write has a time of its own. */
export async function startFakeContents() {
  const items = new Map<string, Item>()
  const said: string[] = []
  let written = 0

  const stamp = () => new Date(Date.UTC(2026, 0, 1) + ++written * 1000).toISOString()
  const put = (path: string, body: Buffer | undefined) => void items.set(path, { body, modified: stamp() })
  const model = (path: string, { body, modified }: Item) => ({
    path,
    type: body === undefined ? 'directory' : 'file',
    last_modified: modified,
    created: modified,
    size: body?.length ?? null,
  })
  const parentOf = (path: string) => path.split('/').slice(0, -1).join('/')

  function get(path: string, withContent: boolean) {
    const item = path === '' ? { body: undefined, modified: '' } : items.get(path)
    if (item === undefined) return { status: 404 }
    const content = [...items].filter(([at]) => parentOf(at) === path).map(([at, each]) => model(at, each))
    return {
      status: 200,
      body: { ...model(path, { ...item, modified: stamp() }), ...model(path, item), ...(withContent && { content }) },
    }
  }

  function save(path: string, { type, content, chunk }: { type: string; content?: string; chunk?: number }) {
    if (parentOf(path) !== '' && !items.has(parentOf(path))) return { status: 500 }
    const bytes = Buffer.from(content ?? '', 'base64')
    const former = chunk === undefined || chunk === 1 ? Buffer.alloc(0) : (items.get(path)?.body ?? Buffer.alloc(0))
    put(path, type === 'directory' ? undefined : Buffer.concat([former, bytes]))
    return { status: 201, body: model(path, items.get(path) as Item) }
  }

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(req.url ?? '', 'http://server')
    const [, api, below = ''] = /^\/(api\/contents|files)\/?(.*)$/.exec(pathname) ?? []
    const path = decodeURIComponent(below)
    said.push(`${req.method} ${api === 'files' ? 'files ' : ''}${path}`)
    const body = Buffer.concat(await Array.fromAsync(req as AsyncIterable<Buffer>))
    if (req.headers.authorization !== `token ${TOKEN}`) return void res.writeHead(403).end()
    if (api === 'files') return void res.writeHead(items.has(path) ? 200 : 404).end(items.get(path)?.body)
    if (req.method === 'DELETE') return void res.writeHead(items.delete(path) ? 204 : 404).end()
    const result =
      req.method === 'PUT' ? save(path, JSON.parse(String(body))) : get(path, searchParams.get('content') === '1')
    res.writeHead(result.status, { 'content-type': 'application/json' }).end(JSON.stringify(result.body))
  }

  const { server, port } = await listen((req: IncomingMessage, res: ServerResponse) => void answer(req, res), 0)
  return {
    url: `http://127.0.0.1:${port}/`,
    /** Files as text, folders as `undefined`. */
    home: () => Object.fromEntries([...items].map(([path, { body }]) => [path, body?.toString('utf8')])),
    items,
    said,
    /** Somebody saves a file in the server. */
    write: (path: string, content: string) => put(path, Buffer.from(content)),
    makeFolder: (path: string) => put(path, undefined),
    /** Somebody renames a file, or a folder with all that is in it; times stay. */
    rename(from: string, to: string): void {
      for (const [path, item] of [...items]) {
        if (path !== from && !path.startsWith(`${from}/`)) continue
        items.delete(path)
        items.set(to + path.slice(from.length), item)
      }
    },
    remove: (path: string) =>
      void [...items.keys()].filter((at) => at === path || at.startsWith(`${path}/`)).map((at) => items.delete(at)),
    close: () => close(server),
  }
}
