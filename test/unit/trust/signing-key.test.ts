import { existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import { generateSigningKey, loadSigningKey } from '../../../src/trust/signing-key.ts'
import { createPeerKey, START } from '../fixtures.ts'

const freshFile = (name = 'key.json') => join(mkdtempSync(join(tmpdir(), 'signing-key-')), name)

describe('the signing key', () => {
  it('is made when it is missing, for its owner’s eyes only, and is the same from then on', async () => {
    const file = freshFile('data/key.json')
    const made = await loadSigningKey(file, 'apps.example.org')
    expect(made.created).toBe(true)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const again = await loadSigningKey(file, 'apps.example.org')
    expect(again.created).toBe(false)
    expect(again.keyid).toBe(made.keyid)
    expect(made.keyid).toMatch(/^apps\.example\.org#[A-Za-z0-9_-]{43}$/)
  })

  it('is published without its private half', async () => {
    const { jwks, keyid } = await loadSigningKey(freshFile(), 'apps.example.org')
    expect(jwks.keys).toHaveLength(1)
    expect(jwks.keys[0]).toEqual({
      kty: 'OKP',
      crv: 'Ed25519',
      x: expect.any(String),
      kid: keyid,
      alg: 'EdDSA',
      use: 'sig',
    })
  })

  it('is published first, further keys after it, none with its private half; only the first one signs', async () => {
    const [own, next] = [freshFile(), freshFile()]
    const alone = await loadSigningKey(own, 'apps.example.org')
    const { keyid: nextId } = await loadSigningKey(next, 'apps.example.org')
    const { jwks, keyid, signJwt } = await loadSigningKey(own, 'apps.example.org', [next])
    expect(jwks.keys.map(({ kid }) => kid)).toEqual([alone.keyid, nextId])
    expect(jwks.keys.some((key) => 'd' in key)).toBe(false)
    expect(keyid).toBe(alone.keyid)
    const jwt = await signJwt({}, { issuedAt: START, expiresAt: START + 60 })
    expect(decodeProtectedHeader(jwt).kid).toBe(alone.keyid)
  })

  it('signs JWTs that its JWK Set verifies', async () => {
    const signer = await loadSigningKey(freshFile(), 'apps.example.org')
    const jwt = await signer.signJwt({ sub: 'bob' }, { issuedAt: START + 0.9, expiresAt: START + 300.9 })
    const { payload } = await jwtVerify(jwt, createLocalJWKSet({ keys: [...signer.jwks.keys] }), {
      currentDate: new Date((START + 1) * 1000),
    })
    expect(payload).toEqual({ sub: 'bob', iat: START, exp: START + 300 })
    expect(decodeProtectedHeader(jwt)).toEqual({ alg: 'EdDSA', typ: 'JWT', kid: signer.keyid })
  })

  it.each([
    ['a public key', JSON.stringify({ kty: 'OKP', crv: 'Ed25519', x: 'JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs' })],
    ['a key of another kind', JSON.stringify(createPeerKey('P-256', 'k').privateKey.export({ format: 'jwk' }))],
    ['no JSON', 'secret-material'],
    ['an empty file', ''],
  ])('a file with %s is refused, not quoted and not replaced', async (_what, text) => {
    const file = freshFile()
    writeFileSync(file, text)
    const error = await loadSigningKey(file, 'apps.example.org').catch((thrown) => thrown)
    expect(error.message).toBe(`${file} must hold an Ed25519 private JWK (make one with: ocm-gateway keys generate)`)
    expect(error.cause).toBeUndefined()
    expect(readFileSync(file, 'utf8')).toBe(text)
  })

  it('that cannot be read is not made anew', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'signing-key-'))
    await expect(loadSigningKey(directory, 'apps.example.org')).rejects.toThrow(/EISDIR/)
    expect(existsSync(directory)).toBe(true)
  })

  it('is another one each time it is generated', () => {
    expect(generateSigningKey()).not.toBe(generateSigningKey())
  })
})
