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
  const isTrusted = (address: string) => isOneOf(trusted, address)
  const header = headers['x-forwarded-for']
  if (header === undefined || !isTrusted(peer)) return { address: peer, chain: peer }
  const chain = String(header)
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => isIP(entry) !== 0)
  const address = [...chain, peer].findLast((entry) => !isTrusted(entry)) ?? chain[0] ?? peer
  return { address, chain: [...chain, peer].join(', ') }
}

/** What limits count as one client: an IPv4 address, or the /64 that a host of IPv6 has to itself. */
export function networkOf(address: string): string {
  const plain = plainAddress(address)
  if (isIP(plain) !== 6) return plain
  const [start = '', end] = (plain.split('%')[0] ?? '').split('::')
  const groups = (part: string) => (part === '' ? [] : part.split(':'))
  const [before, after] = [groups(start), groups(end ?? '')]
  // A dotted end stands for two groups.
  const written = before.length + after.length + (plain.includes('.') ? 1 : 0)
  const all = [...before, ...Array.from({ length: 8 - written }, () => '0'), ...after]
  const first = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16))
  return `${first.join(':')}::/64`
}

export function isOneOf(list: BlockList, address: string): boolean {
  const family = isIP(address)
  return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4')
}

/** `::ffff:10.0.0.1` → `10.0.0.1`. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address
}
