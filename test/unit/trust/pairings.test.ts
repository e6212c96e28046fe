import { describe, expect, it } from 'vitest'
import { createPairings } from '../../../src/trust/pairings.ts'
import { outcomeOf, pairingOf } from '../fixtures.ts'

const paired = ['cloud.example.org', 'cloud.example.org:8443', 'cloud.localhost:8080', '[::1]:9000'].map((domain) =>
  pairingOf(domain),
)

describe('the pairing that an iss names', () => {
  const strict = createPairings(paired, { insecureLoopback: false })
  const loopback = createPairings(paired, { insecureLoopback: true })

  it.each([
    ['https://cloud.example.org', 'cloud.example.org'],
    ['https://cloud.example.org/', 'cloud.example.org'],
    ['https://CLOUD.example.org:443', 'cloud.example.org'],
    ['https://cloud.example.org:8443', 'cloud.example.org:8443'],
    ['https://cloud.localhost:8080', 'cloud.localhost:8080'],
    ['https://[::1]:9000', '[::1]:9000'],
  ])('%s is %s', (iss, domain) => {
    expect(strict.ofIssuer(iss).domain).toBe(domain)
    expect(loopback.ofIssuer(iss).domain).toBe(domain)
  })

  it.each([
    ['http://cloud.localhost:8080', '401 issuer_malformed', 'ok'],
    ['http://[::1]:9000', '401 issuer_malformed', 'ok'],
    ['http://cloud.example.org', '401 issuer_malformed', '401 issuer_malformed'],
    ['http://cloud.localhost.example.org:8080', '401 issuer_malformed', '401 issuer_malformed'],
    ['https://localhost', '401 issuer_not_paired', '401 issuer_not_paired'],
    ['', '401 issuer_malformed', '401 issuer_malformed'],
  ])('http only for loopback hosts, and only when asked for: %s', async (iss, plainly, insecurely) => {
    expect(await outcomeOf(() => strict.ofIssuer(iss))).toBe(plainly)
    expect(await outcomeOf(() => loopback.ofIssuer(iss))).toBe(insecurely)
  })

  it('is found by its canonical domain, and by nothing inherited', () => {
    expect(strict.find('cloud.example.org')).toBe(paired[0])
    for (const domain of ['CLOUD.example.org', 'cloud.example.org:443', '__proto__', 'constructor']) {
      expect(strict.find(domain)).toBeUndefined()
    }
  })
})
