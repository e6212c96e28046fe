import { describe, expect, it } from 'vitest'
import { clientOf } from '../../../src/http/client.ts'
import { serverConfig } from '../apps/generic/webapp.ts'
import { requestOf } from './requests.ts'

const PROXIES = ['10.0.0.0/8', '2001:db8::/32']

function client(peer: string, forwardedFor: string | undefined, trustedProxies: string[] = PROXIES) {
  const headers: Record<string, string> = forwardedFor === undefined ? {} : { 'x-forwarded-for': forwardedFor }
  return clientOf(requestOf('GET', headers, peer), serverConfig({ trustedProxies }).trustedProxies)
}

describe('the client of a request', () => {
  it.each([
    ['a plain peer', '203.0.113.9', undefined, '203.0.113.9', '203.0.113.9'],
    ['a mapped IPv4 peer', '::ffff:203.0.113.9', undefined, '203.0.113.9', '203.0.113.9'],
    ['an IPv6 peer', '2a00::1', undefined, '2a00::1', '2a00::1'],
    ['a peer that nobody trusts and that says more', '203.0.113.9', '198.51.100.1', '203.0.113.9', '203.0.113.9'],
    ['behind a trusted proxy', '10.0.0.1', '198.51.100.1', '198.51.100.1', '198.51.100.1, 10.0.0.1'],
    ['behind a mapped trusted proxy', '::ffff:10.0.0.1', '198.51.100.1', '198.51.100.1', '198.51.100.1, 10.0.0.1'],
    ['behind an IPv6 proxy', '2001:db8::1', '2a00::1', '2a00::1', '2a00::1, 2001:db8::1'],
    ['behind two proxies', '10.0.0.1', '198.51.100.1, 10.9.9.9', '198.51.100.1', '198.51.100.1, 10.9.9.9, 10.0.0.1'],
    [
      'that forged the start of the chain',
      '10.0.0.1',
      '1.1.1.1, 198.51.100.1',
      '198.51.100.1',
      '1.1.1.1, 198.51.100.1, 10.0.0.1',
    ],
    ['that is a proxy itself', '10.0.0.1', '10.2.2.2', '10.2.2.2', '10.2.2.2, 10.0.0.1'],
    ['of a proxy that says nothing', '10.0.0.1', undefined, '10.0.0.1', '10.0.0.1'],
    ['of a proxy that says nonsense', '10.0.0.1', 'unknown, "x", <script>', '10.0.0.1', '10.0.0.1'],
  ])('%s', (_what, peer, header, address, chain) => {
    expect(client(peer, header)).toEqual({ address, chain })
  })

  it('trusts nobody by default', () => {
    expect(client('10.0.0.1', '198.51.100.1', []).address).toBe('10.0.0.1')
  })
})
