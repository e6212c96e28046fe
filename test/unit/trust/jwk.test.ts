import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { importVerificationKey, type KeyKind } from '../../../src/trust/jwk.ts'
import { createPeerKey } from '../fixtures.ts'

const KID = 'cloud.example.org#key1'
const keys = Object.fromEntries(
  (['Ed25519', 'P-256', 'P-384', 'RSA'] as const).map((kind) => [kind, createPeerKey(kind, KID)]),
) as Record<KeyKind, ReturnType<typeof createPeerKey>>
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ format: 'jwk' })
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' })

describe('a published key', () => {
  it.each([
    ['Ed25519', undefined, undefined],
    ['Ed25519', 'EdDSA', 'EdDSA'],
    ['Ed25519', 'Ed25519', 'EdDSA'],
    ['P-256', undefined, undefined],
    ['P-256', 'ES256', 'ES256'],
    ['P-384', 'ES384', 'ES384'],
    ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => ['RSA', alg, alg]),
  ] as [KeyKind, string | undefined, string | undefined][])(
    '%s with alg %s is kept with alg %s',
    (kind, written, kept) => {
      const key = importVerificationKey({ ...keys[kind].jwk, ...(written && { alg: written }) })
      expect(key).toMatchObject({ kid: KID, kind, alg: kept })
      expect(typeof key !== 'string' && key.key.type).toBe('public')
      expect(typeof key !== 'string' && key.key.equals(keys[kind].publicKey)).toBe(true)
    },
  )

  it('may say use: sig or key_ops: verify, or neither, and anything we do not know', () => {
    const { use: _, ...bare } = keys['P-256'].jwk
    for (const more of [{}, { use: 'sig' }, { key_ops: ['verify'] }, { x5c: ['AAAA'], created: 1 }]) {
      expect(importVerificationKey({ ...bare, ...more })).toMatchObject({ kid: KID })
    }
  })

  const { x, y } = keys['P-256'].jwk
  it.each([
    ['no object', 'key', 'not a JWK'],
    ['null', null, 'not a JWK'],
    ['no kid', { ...keys.Ed25519.jwk, kid: undefined }, 'not a JWK'],
    ['an empty kid', { ...keys.Ed25519.jwk, kid: '' }, 'not a JWK'],
    ['a numeric kid', { ...keys.Ed25519.jwk, kid: 1 }, 'not a JWK'],
    ['an endless kid', { ...keys.Ed25519.jwk, kid: 'k'.repeat(2049) }, 'not a JWK'],
    ['no kty', { ...keys.Ed25519.jwk, kty: undefined }, 'not a JWK'],
    ['a private Ed25519 key', { ...keys.Ed25519.privateKey.export({ format: 'jwk' }), kid: KID }, 'private key'],
    ['a private EC key', { ...keys['P-256'].privateKey.export({ format: 'jwk' }), kid: KID }, 'private key'],
    ['a private RSA key', { ...keys.RSA.privateKey.export({ format: 'jwk' }), kid: KID }, 'private key'],
    ['a d that is null', { ...keys.Ed25519.jwk, d: null }, 'private key'],
    ['use: enc', { ...keys.RSA.jwk, use: 'enc' }, 'use is enc'],
    ['key_ops without verify', { ...keys.RSA.jwk, key_ops: ['encrypt'] }, 'key_ops'],
    ['a symmetric key', { kty: 'oct', k: 'AAAA', kid: KID, alg: 'HS256' }, 'oct is not supported'],
    ['secp256k1', { ...ec('secp256k1'), kid: KID }, 'secp256k1 is not supported'],
    ['P-521', { ...ec('P-521'), kid: KID }, 'P-521 is not supported'],
    [
      'X25519',
      { ...generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' }), kid: KID },
      'X25519 is not supported',
    ],
    [
      'Ed448',
      { ...generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' }), kid: KID },
      'Ed448 is not supported',
    ],
    ['an EC key that says Ed25519', { kty: 'EC', crv: 'Ed25519', x, y, kid: KID }, 'not supported'],
    ['alg RS256 on an EC key', { ...keys['P-256'].jwk, alg: 'RS256' }, 'RS256 does not fit'],
    ['alg ES384 on a P-256 key', { ...keys['P-256'].jwk, alg: 'ES384' }, 'ES384 does not fit'],
    ['alg HS256 on an RSA key', { ...keys.RSA.jwk, alg: 'HS256' }, 'HS256 does not fit'],
    ['alg none', { ...keys.Ed25519.jwk, alg: 'none' }, 'none does not fit'],
    ['alg RSA-OAEP', { ...keys.RSA.jwk, alg: 'RSA-OAEP' }, 'RSA-OAEP does not fit'],
    ['RSA of 1024 bits', { ...rsa(1024), kid: KID }, 'RSA below 2048 bits'],
    ['a point that is not on the curve', { ...keys['P-256'].jwk, y: x }, 'malformed'],
    ['an Ed25519 key of 31 bytes', { ...keys.Ed25519.jwk, x: 'A'.repeat(41) }, 'malformed'],
    ['no key material', { kty: 'EC', crv: 'P-256', kid: KID }, 'malformed'],
  ])('is refused: %s', (_what, jwk, why) => {
    expect(importVerificationKey(jwk)).toEqual(expect.stringContaining(why))
  })

  it('is never quoted when it is refused', () => {
    const { d, ...jwk } = keys.Ed25519.privateKey.export({ format: 'jwk' })
    expect(importVerificationKey({ ...jwk, d, kid: KID })).not.toContain(String(d))
  })
})
