import { describe, expect, it } from 'vitest'
import { isFresh, proofKey, readTimestamp, verifyProof } from '../../../../src/apps/wopi/proof.ts'
import { newProofKey, signProof, ticksOf } from '../../../flow/wopi-editor.ts'
import vectors from './proof-vectors.json' with { type: 'json' }

const { modulus, exponent, oldmodulus, oldexponent } = vectors.discovery
const current = proofKey(modulus, exponent)
const old = proofKey(oldmodulus, oldexponent)

describe('published vectors', () => {
  it.each(vectors.cases)('$name', ({ access_token: token, url, timestamp, proof, proof_old: proofOld, expected }) => {
    if (current === undefined) throw new Error('no key')
    const verdict = verifyProof({ token, url, timestamp: BigInt(timestamp), proof, proofOld }, { current, old })
    expect(verdict !== undefined).toBe(expected)
  })
})

describe('keys that change', () => {
  const [first, second] = [newProofKey(), newProofKey()]
  const signed = { token: 'token', url: 'https://apps.example.org/wopi/files/1?access_token=token', timestamp: 1n }
  const by = (key: typeof first) => signProof(key.privateKey, signed.token, signed.url, signed.timestamp)
  const keys = { current: first.publicKey, old: second.publicKey }

  it('the current key counts for both signatures, the older key for the current signature only', () => {
    expect(verifyProof({ ...signed, proof: by(first), proofOld: undefined }, keys)).toBe('current')
    expect(verifyProof({ ...signed, proof: 'x', proofOld: by(first) }, keys)).toBe('ahead')
    expect(verifyProof({ ...signed, proof: by(second), proofOld: 'x' }, keys)).toBe('behind')
    expect(verifyProof({ ...signed, proof: 'x', proofOld: by(second) }, keys)).toBeUndefined()
  })

  it('an editor without an older key is fine', () => {
    expect(
      verifyProof({ ...signed, proof: by(second), proofOld: by(second) }, { current: first.publicKey, old: undefined }),
    ).toBeUndefined()
  })

  it('another token, address or time is another signature', () => {
    const change = [{ token: 'other' }, { url: `${signed.url}x` }, { timestamp: 2n }]
    for (const each of change)
      expect(verifyProof({ ...signed, ...each, proof: by(first), proofOld: undefined }, keys)).toBeUndefined()
  })
})

describe('the time of a proof', () => {
  const now = 1_700_000_000
  const at = (seconds: number) => isFresh(ticksOf(new Date((now + seconds) * 1000)), now)

  it('is at most twenty minutes ago, and a little ahead where clocks differ', () => {
    expect([-1201, -1199, 0, 299, 301].map(at)).toEqual([false, true, true, true, false])
  })

  it('is a number', () => {
    expect(readTimestamp('635655897610773532')).toBe(635655897610773532n)
    for (const text of [undefined, '', '-1', '1.5', '1e3', '9'.repeat(19)]) expect(readTimestamp(text)).toBeUndefined()
  })
})

it('what is no RSA key is none', () => {
  expect([proofKey('', 'AQAB'), proofKey('AQAB', undefined)]).toEqual([undefined, undefined])
})
