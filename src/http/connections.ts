import type { Server } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { BlockList, Socket } from 'node:net'
import type { Events } from '../core/events.ts'
import { isOneOf, networkOf, plainAddress } from './client.ts'

/** What holds now; a reload of the configuration may change it. */
interface ConnectionRules {
  readonly perAddress: number
  /** They bring everybody’s requests, and limit what they take in themselves. */
  readonly trustedProxies: BlockList
}

/**
 * Closes what a client opens beyond its connections at once, before a byte of it is read; WebSockets count like all others.
 * What is open stays open, also when a reload lowers the limit. One entry of memory for each client that is connected now.
 */
export function limitConnections(server: Server | TlsServer, rules: () => ConnectionRules, events: Events): void {
  const clients = new Map<string, { open: number; told: boolean }>()
  // First in line: nothing else begins with a connection that goes at once. With TLS, too, this is the bare connection.
  server.prependListener('connection', (socket: Socket) => {
    const { perAddress, trustedProxies } = rules()
    const peer = plainAddress(socket.remoteAddress ?? '')
    if (isOneOf(trustedProxies, peer)) return
    const name = networkOf(peer)
    const client = clients.get(name) ?? { open: 0, told: false }
    clients.set(name, client)
    client.open += 1
    socket.on('close', () => {
      client.open -= 1
      if (client.open === 0) clients.delete(name)
    })
    if (client.open <= perAddress) return
    socket.destroy()
    events.connectionRefused({})
    if (!client.told) events.connectionsExhausted({ client: name, limit: perAddress })
    client.told = true
  })
}
