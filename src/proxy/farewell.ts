import type { Duplex } from 'node:stream'
import { createFrames } from './frames.ts'

/** An unmasked close frame with the status 1001, going away (RFC 6455 §5.5.1, §7.4.1). */
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9])
/** Time for the frame under way, and for the client’s own close frame. */
const LEAVE_MS = 2000

const farewells = new WeakMap<Duplex, () => void>()

/** Follows what the app sends over an open WebSocket, so that `sayGoingAway` can put its frame between two others. */
export function prepareFarewell(client: Duplex, app: Duplex): void {
  const frames = createFrames()
  const follow = (chunk: Buffer) => frames.follow(chunk)
  // Not earlier: whoever listens makes data flow, and what came with the 101 would be gone before it has a way to go.
  client.once('pipe', () => app.on('data', follow))
  farewells.set(client, () => {
    app.off('data', follow)
    app.unpipe(client)
    if (frames.between()) return void client.end(GOING_AWAY)
    app.on('data', (chunk: Buffer) => {
      if (client.writableEnded) return
      const held = !client.write(chunk.subarray(0, frames.finish(chunk)))
      if (frames.between()) client.end(GOING_AWAY)
      else if (held) app.pause() && client.once('drain', () => app.resume())
    })
    app.resume()
  })
}

/**
 * Tells the browser behind a WebSocket that we are going away, so that its page connects again; the connection ends when it
 * has answered, two seconds later at the latest. Any other upgraded connection is cut.
 */
export function sayGoingAway(client: Duplex): void {
  const farewell = farewells.get(client)
  if (farewell === undefined) return void client.destroy()
  farewells.delete(client)
  farewell()
  const late = setTimeout(() => client.destroy(), LEAVE_MS)
  client.once('close', () => clearTimeout(late))
}
