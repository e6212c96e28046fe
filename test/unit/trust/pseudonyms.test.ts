import { generateKeyPairSync } from 'node:crypto'
import { expect, it } from 'vitest'
import { createPseudonyms } from '../../../src/trust/pseudonyms.ts'

const key = () => generateKeyPairSync('ed25519').privateKey

it('a person has the same pseudonym however the host is spelled, under one key; the cloud stays', () => {
  const own = key()
  const pseudonym = createPseudonyms(own)
  const bob = pseudonym('bob@Cloud.example')
  expect(bob).toMatch(/^~[\w-]{20}@cloud\.example$/)
  expect(pseudonym('bob@https://cloud.example:443/')).toBe(bob)
  expect(createPseudonyms(own)('bob@cloud.example')).toBe(bob)
  expect(createPseudonyms(key())('bob@cloud.example')).not.toBe(bob)
  expect(new Set([bob, pseudonym('Bob@cloud.example'), pseudonym('bob@other.example')]).size).toBe(3)
})

it('what is no OCM address has one too', () => {
  expect(createPseudonyms(key())('alice')).toMatch(/^~[\w-]{20}$/)
})
