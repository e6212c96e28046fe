import { createHash } from 'node:crypto'
import { z } from 'zod'
import { type Outbound, OutboundError } from '../../../core/outbound.ts'
import { joinPath, nameOf } from './paths.ts'

const LIMITS = { operatorNamed: true, silenceSeconds: 120 }
const MAX_ANSWER_BYTES = 64 * 1024 * 1024
const MAX_TEXT = 16 * 1024
/** Bytes of a file that are sent with one request; a longer file takes several. */
const CHUNK_BYTES = 1024 * 1024

const model = z.object({
  path: z.string().max(MAX_TEXT),
  type: z.string().max(MAX_TEXT),
  last_modified: z.string().max(MAX_TEXT),
  created: z.string().max(MAX_TEXT),
  size: z.int().min(0).nullish(),
})
const folderModel = z.object({ content: z.array(model) })

/** Something in the home of a server, as its contents API describes it. */
export interface LocalEntry {
  readonly path: string
  readonly isFolder: boolean
  /** Bytes; `undefined` of folders, and where the server does not say. */
  readonly size: number | undefined
  /** `last_modified` as sent: to be compared, not to be understood. */
  readonly modified: string
  /** Epoch seconds, by the server’s clock. */
  readonly created: number
}

/** A file as it was written, with what was counted on the way. */
export interface WrittenFile {
  readonly modified: string
  readonly size: number
  /** Hexadecimal. */
  readonly sha256: string
}

/** The server does not do what was asked of its contents API; without a status it does not answer at all. */
export class ContentsError extends Error {
  override readonly name = 'ContentsError'
  readonly status: number | undefined

  constructor(message: string, { status, cause }: { status?: number; cause?: unknown } = {}) {
    super(message, { cause })
    this.status = status
  }

  /** Whether it is about this one path; otherwise nothing can be done there now. */
  get isAboutPath(): boolean {
    return this.status !== undefined && ![401, 403, 429, 502, 503, 504].includes(this.status)
  }
}

export type Contents = ReturnType<typeof createContents>

/**
 * The files in one running server, through its contents API. Paths are those of `paths.ts`.
 *
 * All operations reject with a `ContentsError`; what a body that is written throws is passed on.
 *
 * @param serverUrl of the server as we reach it, ends in `/`
 * @see https://jupyter-server.readthedocs.io/en/latest/developers/contents.html
 */
export function createContents({
  outbound,
  serverUrl,
  token,
}: {
  outbound: Outbound
  serverUrl: string
  token: string
}) {
  const authorization = { authorization: `token ${token}` }
  const addressOf = (api: string, path: string) =>
    `${serverUrl}${api}${path === '' ? '' : `/${path.split('/').map(encodeURIComponent).join('/')}`}`

  async function call(
    method: 'GET' | 'PUT' | 'DELETE',
    path: string,
    { query = '', body }: { query?: string; body?: Buffer } = {},
  ): Promise<{ status: number; text: string }> {
    const url = addressOf('api/contents', path) + query
    const headers = { ...authorization, accept: 'application/json', 'content-type': 'application/json' }
    try {
      const answer = await outbound.exchange(url, { method, headers, ...(body && { body }) }, LIMITS)
      return { status: answer.status, text: await textOf(answer.body) }
    } catch (error) {
      throw unanswered(error)
    }
  }

  async function putFile(path: string, content: Buffer, chunk: number | undefined): Promise<z.infer<typeof model>> {
    const { status, text } = await call('PUT', path, { body: fileJson(content, chunk) })
    if (status !== 200 && status !== 201) throw refused('PUT', status)
    return parse(model, text)
  }

  async function describe<Schema extends z.ZodType>(schema: Schema, path: string, content: 0 | 1) {
    const { status, text } = await call('GET', path, { query: `?content=${content}` })
    if (status === 200) return parse(schema, text)
    if (status === 404) return undefined
    throw refused('GET', status)
  }

  return {
    /** @returns `undefined` when there is nothing, or something hidden */
    async stat(path: string): Promise<LocalEntry | undefined> {
      const found = await describe(model, path, 0)
      return found && { ...entryOf(found), path }
    },

    /** What is in a folder, but for hidden things; `undefined` when there is no such folder. */
    async list(path: string): Promise<LocalEntry[] | undefined> {
      const entries = (await describe(folderModel, path, 1))?.content.map(entryOf)
      // Whoever has the server under control does not decide which folder is meant.
      return entries?.filter((entry) => entry.path === joinPath(path, nameOf(entry.path)))
    },

    /** Its parent must be there. No error when it exists. */
    async makeFolder(path: string): Promise<void> {
      const { status } = await call('PUT', path, { body: Buffer.from('{"type":"directory"}') })
      if (status !== 200 && status !== 201) throw refused('PUT', status)
    },

    /**
     * Writes a file, also over another; its folder must be there. The bytes stay as they are, a notebook’s too. No more than
     * two chunks of it are in memory at a time. When the body ends early, a part of the file is left.
     */
    async write(path: string, body: AsyncIterable<Uint8Array>): Promise<WrittenFile> {
      const hash = createHash('sha256')
      let size = 0
      let number = 0
      let held: Buffer | undefined
      for await (const block of blocksOf(body, CHUNK_BYTES)) {
        hash.update(block)
        size += block.length
        if (held !== undefined) await putFile(path, held, ++number)
        held = block
      }
      const last = await putFile(path, held ?? Buffer.alloc(0), number === 0 ? undefined : -1)
      return { modified: last.last_modified, size, sha256: hash.digest('hex') }
    },

    /** The bytes of a file, as they come. @param signal the only time limit */
    async *read(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
      const url = addressOf('files', path)
      try {
        const answer = await outbound.exchange(url, { method: 'GET', headers: authorization, signal }, LIMITS)
        if (answer.status !== 200) {
          await textOf(answer.body)
          throw refused('GET', answer.status)
        }
        yield* answer.body
      } catch (error) {
        throw unanswered(error)
      }
    },

    /** Also when it is gone already. */
    async remove(path: string): Promise<void> {
      const { status } = await call('DELETE', path)
      if (status !== 204 && status !== 404) throw refused('DELETE', status)
    },
  }
}

/** The same bytes in blocks of one size; the last may be shorter. */
async function* blocksOf(body: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Buffer> {
  let parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    let rest = chunk
    while (length + rest.length >= size) {
      const taken = size - length
      yield Buffer.concat([...parts, rest.subarray(0, taken)])
      parts = []
      length = 0
      rest = rest.subarray(taken)
    }
    if (rest.length > 0) parts.push(rest)
    length += rest.length
  }
  if (length > 0) yield Buffer.concat(parts)
}

function entryOf({ path, type, last_modified: modified, created, size }: z.infer<typeof model>): LocalEntry {
  const isFolder = type === 'directory'
  const plain = path.replace(/^\/+/, '')
  return {
    path: plain,
    isFolder,
    size: isFolder ? undefined : (size ?? undefined),
    modified,
    created: Date.parse(created) / 1000,
  }
}

function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new ContentsError('The notebook server answers what no Jupyter server would.', { cause })
  }
}

function refused(method: string, status: number): ContentsError {
  return new ContentsError(`the notebook server answers ${status} to a ${method}`, { status })
}

function unanswered(error: unknown): unknown {
  return error instanceof OutboundError
    ? new ContentsError('the notebook server does not answer', { cause: error })
    : error
}

/** Made without a detour: a file takes much room as it is. */
function fileJson(content: Buffer, chunk: number | undefined): Buffer {
  const head = `{"type":"file","format":"base64",${chunk === undefined ? '' : `"chunk":${chunk},`}"content":"`
  return Buffer.from(`${head}${content.toString('base64')}"}`, 'latin1')
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) throw new ContentsError('the notebook server answers more than anybody can read')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
