import { z } from 'zod'
import { hubMalformed } from './hub-errors.ts'

const spawnEvent = z.object({
  /** 0 to 100. */
  progress: z.number().catch(0),
  message: z.string().catch(''),
  ready: z.boolean().catch(false),
  failed: z.boolean().catch(false),
  /** Of the server, once it is ready: a path, or a whole URL where the hub gives each user a host. */
  url: z.string().optional(),
})

/** What the hub’s progress stream tells of a start; `ready` or `failed` is the last. */
export type SpawnEvent = z.infer<typeof spawnEvent>

const MAX_LINE_CHARACTERS = 1024 * 1024

/**
 * Reads the hub’s server-sent events: one line of JSON each; blank lines keep the connection open.
 *
 * @throws {GatewayError} 502 `hub_malformed` when they are anything else
 */
export async function* readSpawnEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<SpawnEvent> {
  for await (const line of linesOf(body)) {
    if (line.startsWith('data:')) yield parseEvent(line.slice('data:'.length))
  }
}

function parseEvent(json: string): SpawnEvent {
  try {
    return spawnEvent.parse(JSON.parse(json))
  } catch (cause) {
    throw hubMalformed('an event that is not an event of a start', cause)
  }
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_CHARACTERS) throw hubMalformed('an event without end')
    yield* lines
  }
}
