import type { IncomingMessage } from 'node:http'
import { type BlockList, isIP } from 'node:net'

/** Who is at the other end, for logs, rate limits and `X-Forwarded-For`; never an input to authorisation. */
export interface Client {
  readonly address: string
  /** What the app is told: a chain from trusted proxies is kept, and the peer appended. */
  readonly chain: string
}

/** The client behind trusted proxies: the right-most address of the chain that is not one of theirs. */
export function clientOf({ socket, headers }: IncomingMessage, trusted: BlockList): Client {
  const peer = plainAddress(socket.remoteAddress ?? '')
  const isTrusted = (address: string) =>
    isIP(address) !== 0 && trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
  const header = headers['x-forwarded-for']
  if (header === undefined || !isTrusted(peer)) return { address: peer, chain: peer }
  const chain = String(header)
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => isIP(entry) !== 0)
  const address = [...chain, peer].findLast((entry) => !isTrusted(entry)) ?? chain[0] ?? peer
  return { address, chain: [...chain, peer].join(', ') }
}

/** `::ffff:10.0.0.1` → `10.0.0.1`. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address
}
