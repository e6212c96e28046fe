import type { Duplex } from 'node:stream'
import { Frames } from './frames.ts'

/** An unmasked close frame with the status 1001, going away (RFC 6455 §5.5.1, §7.4.1). */
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9])
/** Time for the frame under way, and for the client’s own close frame. */
const LEAVE_MS = 2000

const tunnels = new WeakMap<Duplex, Tunnel>()

/**
 * Makes one connection of a client’s and an app’s, byte for byte: each waits for the other, and when one closes, so does the
 * other. Frames of the app are followed by their lengths only, so that `sayGoingAway` can put its own between two of them.
 */
export function openTunnel(client: Duplex, app: Duplex): void {
  tunnels.set(client, new Tunnel(client, app))
}

/**
 * Tells the browser behind a WebSocket that we are going away, so that its page connects again; the connection ends when it
 * has answered, two seconds later at the latest. Any other upgraded connection is cut.
 */
export function sayGoingAway(client: Duplex): void {
  const tunnel = tunnels.get(client)
  if (tunnel === undefined) return void client.destroy()
  tunnels.delete(client)
  tunnel.leave()
  const late = setTimeout(() => client.destroy(), LEAVE_MS)
  client.once('close', () => clearTimeout(late))
}

/** Thousands of them are idle at any time: few listeners, and they hold on to nothing but the two sockets. */
class Tunnel {
  readonly #client: Duplex
  readonly #app: Duplex
  readonly #frames = new Frames()
  #leaving = false

  constructor(client: Duplex, app: Duplex) {
    this.#client = client
    this.#app = app
    client.on('data', (chunk: Buffer) => send(client, app, chunk)).on('end', () => app.end())
    app.on('data', (chunk: Buffer) => this.#toClient(chunk)).on('end', () => client.end())
    client.on('close', () => app.destroy())
    app.on('close', () => client.destroy()).on('error', () => app.destroy())
  }

  #toClient(chunk: Buffer): void {
    if (this.#leaving) this.#finishFrame(chunk)
    else {
      this.#frames.follow(chunk)
      send(this.#app, this.#client, chunk)
    }
  }

  /** From now on the client gets the rest of the frame under way, and then our goodbye; what it says still reaches the app. */
  leave(): void {
    this.#leaving = true
    if (this.#frames.between) this.#client.end(GOING_AWAY)
  }

  #finishFrame(chunk: Buffer): void {
    if (this.#client.writableEnded) return
    send(this.#app, this.#client, chunk.subarray(0, this.#frames.finish(chunk)))
    if (this.#frames.between) this.#client.end(GOING_AWAY)
  }
}

/** Who is slower than the other holds it back. */
function send(from: Duplex, to: Duplex, chunk: Buffer): void {
  if (!to.writable || to.write(chunk)) return
  from.pause()
  to.once('drain', () => from.resume())
}
