import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { sayGoingAway } from '../proxy/farewell.ts'

const IDLE_CHECK_MS = 100

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
    socket.once('close', () => upgraded.delete(socket))
  })

  return {
    begun: () => begun,
    /** Resolves when nothing is under way any more, or when the time for it is over; then all that is left is cut. */
    async drain({ drainDelay, drainTimeout }: DrainingRules): Promise<void> {
      begun = true
      await pause(drainDelay * 1000)
      const ended = stopAccepting(server, drainTimeout)
      for (const socket of upgraded) sayGoingAway(socket)
      await ended
      for (const socket of upgraded) socket.destroy()
    },
  }
}

function stopAccepting(server: Server | TlsServer, seconds: number): Promise<void> {
  return new Promise((resolve) => {
    // A connection whose last request came before the draining stays open after its answer.
    const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK_MS)
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
