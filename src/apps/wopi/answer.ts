import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'

/** An answer of the WOPI host; an editor reads the status and the headers, and JSON where there is some. */
export interface WopiAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly json?: unknown
}

const SILENCE_SECONDS = 60
/** Of a body that nobody needs: so much is read, so that the editor gets the answer and keeps its connection. */
const DRAIN_MAX = 16 * 1024 * 1024
const DRAIN_SECONDS = 10

/** An empty value is really sent: editors look for the header. */
export function lockHeader(lock: string): Record<string, string> {
  return { 'x-wopi-lock': lock }
}

export async function sendAnswer(req: IncomingMessage, res: ServerResponse, answer: WopiAnswer): Promise<void> {
  await drain(req)
  const { status, headers, json } = answer
  const body = json === undefined ? '' : JSON.stringify(json)
  res.writeHead(status, {
    ...headers,
    ...(json !== undefined && { 'content-type': 'application/json' }),
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(!req.complete && { connection: 'close' }),
  })
  res.end(body)
}

/** What nobody reads is in the way of the answer; but nobody waits long for it. */
async function drain(req: IncomingMessage): Promise<void> {
  if (req.complete || req.destroyed) return void req.resume()
  const late = setTimeout(() => req.destroy(), DRAIN_SECONDS * 1000)
  let size = 0
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false })) {
      size += (chunk as Buffer).length
      if (size > DRAIN_MAX) return
    }
  } catch {
    // The editor is gone: there is nobody to answer.
  } finally {
    clearTimeout(late)
  }
}

/**
 * A request’s body as it comes.
 *
 * @param onTooLarge throws what a body beyond `maxBytes` means
 * @throws {Error} when the client goes away, or is silent for a minute while we wait for it
 */
export async function* bodyOf(
  req: IncomingMessage,
  { maxBytes, onTooLarge }: { maxBytes: number; onTooLarge: () => never },
): AsyncGenerator<Buffer> {
  let size = 0
  let silence: NodeJS.Timeout | undefined
  const wait = () => {
    silence = setTimeout(() => req.destroy(new Error('the editor stopped sending')), SILENCE_SECONDS * 1000)
  }
  try {
    wait()
    for await (const chunk of req.iterator({ destroyOnReturn: false })) {
      clearTimeout(silence)
      size += (chunk as Buffer).length
      if (size > maxBytes) onTooLarge()
      yield chunk as Buffer
      wait()
    }
  } finally {
    clearTimeout(silence)
  }
}

/** The value of a header that may come once. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : value?.[0]
}
