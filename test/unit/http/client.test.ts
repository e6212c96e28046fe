import { describe, expect, it } from 'vitest'
import { clientOf, networkOf } from '../../../src/http/client.ts'
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

describe('what counts as one client', () => {
  it.each([
    ['an IPv4 address', '198.51.100.1', '198.51.100.1'],
    ['a mapped one', '::ffff:198.51.100.1', '198.51.100.1'],
    ['a network of IPv6, however it is written', '2001:0DB8:0:2:ffff:1:2:3', '2001:db8:0:2::/64'],
    ['a shortened address', '2001:db8::9', '2001:db8:0:0::/64'],
    ['an address that is shortened late', '2001:db8:1:2:3::', '2001:db8:1:2::/64'],
    ['an address with a dotted end', '64:ff9b::198.51.100.1', '64:ff9b:0:0::/64'],
    ['an address with a zone', 'fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['this machine', '::1', '0:0:0:0::/64'],
    ['what is no address', '', ''],
  ])('%s', (_what, address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})
