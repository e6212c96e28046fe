import { connect, type Socket } from 'node:net'

/** One answer, read off the socket by this file alone: nothing is normalised on the way. */
export interface RawResponse {
  /** 0 when the connection ended without an answer. */
  readonly status: number
  /** As received. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer
  /** The first value of a header. */
  header(name: string): string | undefined
  all(name: string): string[]
  json(): Record<string, unknown>
}

export interface Connection {
  readonly socket: Socket
  write(bytes: string | Buffer): void
  /** The next answer that is not a 1xx. @param method the method that was sent: HEAD has no body */
  read(method?: string): Promise<RawResponse>
  /** The next answer, whichever. */
  readAny(method?: string): Promise<RawResponse>
  /** Resolves when the other side has closed. */
  readonly closed: Promise<void>
}

/** A TCP connection to this machine that sends exactly what it is given, and reads HTTP/1.1 answers. */
export function openConnection(port: number): Connection {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => socket.destroy())
  const closed = new Promise<void>((resolve) => socket.once('end', resolve).once('close', () => resolve()))
  const reader = createReader(socket)

  async function readAny(method = 'GET'): Promise<RawResponse> {
    const head = await reader.takeThrough('\r\n\r\n')
    if (head === undefined) return responseOf(0, [], Buffer.alloc(0))
    const [first = '', ...lines] = head.trimEnd().split('\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0)
    const headers = lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).trim()] as const
    })
    const bodiless = method === 'HEAD' || status < 200 || status === 204 || status === 304
    return responseOf(status, headers, bodiless ? Buffer.alloc(0) : await readBody(headers))
  }

  async function readBody(headers: RawResponse['headers']): Promise<Buffer> {
    const value = (wanted: string) => headers.find(([name]) => name.toLowerCase() === wanted)?.[1]
    const length = value('content-length')
    if (value('transfer-encoding') === undefined && length !== undefined) return reader.take(Number(length))
    return value('transfer-encoding') === undefined ? reader.takeAll() : readChunks()
  }

  async function readChunks(): Promise<Buffer> {
    const chunks: Buffer[] = []
    for (;;) {
      const size = Number.parseInt((await reader.takeThrough('\r\n')) ?? '', 16)
      if (!(size > 0)) break
      chunks.push(await reader.take(size))
      await reader.take(2)
    }
    await reader.takeThrough('\r\n')
    return Buffer.concat(chunks)
  }

  return {
    socket,
    closed,
    write: (bytes) => void socket.write(bytes),
    readAny,
    async read(method) {
      const response = await readAny(method)
      return response.status >= 100 && response.status < 200 && response.status !== 101 ? this.read(method) : response
    },
  }
}

/** Sends these bytes on a connection of their own and reads one answer. */
export async function sendRaw(port: number, bytes: string | Buffer, method?: string): Promise<RawResponse> {
  const connection = openConnection(port)
  connection.write(bytes)
  const response = await connection.read(method)
  connection.socket.destroy()
  return response
}

function responseOf(status: number, headers: RawResponse['headers'], body: Buffer): RawResponse {
  const all = (wanted: string) =>
    headers.filter(([name]) => name.toLowerCase() === wanted.toLowerCase()).map(([, value]) => value)
  return { status, headers, body, all, header: (name) => all(name)[0], json: () => JSON.parse(body.toString('utf8')) }
}

/** What came and was not taken yet; each `take` waits for enough of it, or for the end. */
function createReader(socket: Socket) {
  let held = Buffer.alloc(0)
  let waiting: Buffer[] = []
  let ended = false
  let wake = () => {}
  socket.on('data', (chunk) => {
    waiting.push(chunk)
    wake()
  })
  for (const end of ['end', 'close'] as const) {
    socket.once(end, () => {
      ended = true
      wake()
    })
  }

  async function more(): Promise<boolean> {
    while (waiting.length === 0 && !ended)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    const grew = waiting.length > 0
    held = Buffer.concat([held, ...waiting])
    waiting = []
    return grew
  }

  function cut(length: number): Buffer {
    const taken = held.subarray(0, length)
    held = held.subarray(length)
    return taken
  }

  return {
    async take(length: number): Promise<Buffer> {
      while (held.length < length && (await more()));
      return cut(length)
    },
    async takeThrough(mark: string): Promise<string | undefined> {
      while (!held.includes(mark) && (await more()));
      const at = held.indexOf(mark)
      return at === -1 ? undefined : cut(at + mark.length).toString('latin1')
    },
    async takeAll(): Promise<Buffer> {
      while (await more());
      return cut(held.length)
    },
  }
}
