import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { setTimeout as pause, setImmediate } from 'node:timers/promises'
import { sayGoingAway } from '../proxy/tunnel.ts'

const IDLE_CHECK_MS = 100
/** While more and more come, those who are left in the end are cut. */
const LET_IN_MS = 1000

/** Seconds. */
export interface DrainingRules {
  /** Time for whoever sends us requests to notice that we are not ready, before nobody new is let in. */
  readonly drainDelay: number
  /** Time for what is under way after that. */
  readonly drainTimeout: number
}

/**
 * The end of a listener’s life. From `begin` on, every answer closes its connection; after the delay nobody new is let in,
 * WebSockets are told that we go away, and requests under way have their time.
 */
export function createDraining(server: Server | TlsServer) {
  const upgraded = new Set<Duplex>()
  let begun = false
  server.prependListener('request', (_req, res) => {
    if (begun) res.setHeader('connection', 'close')
  })
  server.prependListener('upgrade', (_req, socket: Duplex) => {
    upgraded.add(socket)
    socket.on('close', () => upgraded.delete(socket))
  })

  return {
    begun: () => begun,
    /** Resolves when nothing is under way any more, or when the time for it is over; then all that is left is cut. */
    async drain({ drainDelay, drainTimeout }: DrainingRules): Promise<void> {
      begun = true
      await pause(drainDelay * 1000)
      await letIn(server)
      const ended = stopAccepting(server, drainTimeout)
      for (const socket of upgraded) sayGoingAway(socket)
      await ended
      for (const socket of upgraded) socket.destroy()
    },
  }
}

/**
 * Waits until nobody waits to be let in: the system cuts those when we stop listening, and what they have sent is lost. One
 * connection is let in, and all that has come over the others is read, in each turn of the event loop.
 */
async function letIn(server: Server | TlsServer): Promise<void> {
  const endsAt = performance.now() + LET_IN_MS
  let came = true
  const come = () => {
    came = true
  }
  server.on('connection', come)
  while (came && performance.now() < endsAt) {
    came = false
    await setImmediate()
  }
  server.off('connection', come)
}

function stopAccepting(server: Server | TlsServer, seconds: number): Promise<void> {
  return new Promise((resolve) => {
    // A connection whose last request came before the draining stays open after its answer.
    const idle = setInterval(async () => {
      // What has come over them is read first.
      await setImmediate()
      server.closeIdleConnections()
    }, IDLE_CHECK_MS)
    const end = () => {
      clearInterval(idle)
      clearTimeout(late)
      resolve()
    }
    const late = setTimeout(end, seconds * 1000)
    server.close(end)
    server.closeIdleConnections()
  })
}
