import { randomBytes } from 'node:crypto'
import type { JupyterHubInstallation } from '../../src/demo/jupyterhub/install.ts'
import type { Resource } from '../../src/demo/resources.ts'
import { makeFile } from '../../src/demo/webdav.ts'
import { until } from '../flow/until.ts'
import { startNotebookScene, type Visitor } from './notebooks.ts'

export const SLOWLY = 60

export const notebook = `${JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells: [] }, null, 1)}\n`
const withCell = `${JSON.stringify({
  nbformat: 4,
  nbformat_minor: 5,
  metadata: { kernelspec: { name: 'python3', display_name: 'Python 3', language: 'python' } },
  cells: [{ id: 'a', cell_type: 'code', metadata: {}, source: '1', outputs: [], execution_count: null }],
})}\n`
export const UNICODE = 'données/größe 50% #1?.csv'
export const DECOMPOSED = 'données/cafe\u0301.txt'

export const FILES = Number(process.env.CONTENT_FILES ?? 150)
export const FILE_BYTES = 2 * 1024 * 1024
export const many = Object.fromEntries(
  Array.from({ length: FILES }, (_, nth) => [`part ${nth % 7}/file ${nth}.bin`, randomBytes(FILE_BYTES)]),
)

const some = Object.fromEntries(
  Array.from({ length: 60 }, (_, nth) => [`part ${nth % 7}/file ${nth}.bin`, randomBytes(100 * 1024)]),
)

function folder(name: string, files: Record<string, string | Buffer>): Resource {
  return { name, resourceType: 'folder', mediaType: 'httpd/unix-directory', description: '', files }
}

export const three = {
  'Analysis.ipynb': notebook,
  [UNICODE]: Buffer.from([0, 255, 254, 10, 13]),
  'read me.txt': 'Hello.\n',
}
export const strange = {
  [DECOMPOSED]: 'decomposed',
  'empty.ipynb': '',
  'empty.bin': '',
  'large.bin': randomBytes(3 * 1024 * 1024 + 17),
  'large.ipynb': `${JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: { pad: 'x'.repeat(30 * 1024 * 1024) }, cells: [] })}`,
  '.hidden': 'h',
  '.git/config': 'c',
  'runs/checkpoints/model.bin': 'm',
}

const RESOURCES: readonly Resource[] = [
  folder('Three', three),
  folder('Strange', strange),
  ...['Saved', 'Renamed', 'Conflict', 'Ended', 'Read', 'Kept', 'Revoked', 'Killed', 'Seen', 'Pieces'].map((name) =>
    folder(name, three),
  ),
  folder('Many', many),
  folder('Lab', { 'Analysis.ipynb': withCell, ...some }),
  folder('Odd', {
    'empty.bin': '',
    '.hidden': 'h',
    '.git/config': 'c',
    'runs/checkpoints/model.bin': 'm',
    'runs/.cache': 'c',
  }),
  {
    name: 'Alone.ipynb',
    resourceType: 'file',
    mediaType: 'application/x-ipynb+json',
    description: '',
    files: { '': notebook },
  },
]

export type ContentScene = Awaited<ReturnType<typeof startContentScene>>

interface Told {
  readonly state: string
  readonly pending: number
  readonly conflicts: readonly { readonly path: string; readonly copy: string }[]
  readonly leftOut: { readonly total: number; readonly listed: readonly { path: string; why: string }[] }
  readonly waiting?: string
}

interface ContentSceneOptions {
  readonly name: string
  readonly installation: JupyterHubInstallation
  readonly report: (line: string) => void
}

/** Notebooks whose content comes from Alice’s cloud, and a look into both places. */
export async function startContentScene(options: ContentSceneOptions) {
  const scene = await startNotebookScene({ ...options, resources: RESOURCES })
  const { alice } = scene

  function treeOf(name: string) {
    const resource = RESOURCES.find((each) => each.name === name)
    if (resource === undefined) throw new Error(`Alice has no ${name}`)
    return alice.treeOf(resource)
  }
  const told = async (bob: Visitor) => (await bob.request('.ocm/session')).json().content as Told

  return {
    ...scene,
    treeOf,
    /** What Alice’s cloud has, as text. */
    there(name: string, path: string): string | undefined {
      const file = treeOf(name).get(path)
      return file === undefined || file === 'folder' ? file : file.body.toString('utf8')
    },
    /** Alice changes a file herself. */
    change: (name: string, path: string, content: string) => void treeOf(name).set(path, makeFile(content)),
    /** What the session says of its content. */
    told,
    untilSaved: (bob: Visitor) =>
      until('everything is saved', async () => (await told(bob)).pending === 0 && told(bob), SLOWLY),
  }
}

const urlOf = (path: string) => path.split('/').map(encodeURIComponent).join('/')

export const contents = (path: string) => `api/contents/${urlOf(path)}`

export function save(bob: Visitor, path: string, content: string) {
  return bob.json(contents(path), 'PUT', { type: 'file', format: 'text', content })
}

/** A file as the server has it. */
export async function bytesOf(bob: Visitor, path: string): Promise<Buffer> {
  return (await bob.request(`files/${urlOf(path)}`)).body
}
