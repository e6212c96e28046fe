import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createSealer } from '../../../src/trust/sealer.ts'

const { privateKey } = generateKeyPairSync('ed25519')
const sealer = createSealer(privateKey)

describe('a sealed text', () => {
  it('opens under the same key and context, also in another process', () => {
    const sealed = sealer.seal('töken', 'bob')
    expect(createSealer(privateKey).open(sealed, 'bob')).toBe('töken')
    expect(sealer.open(sealer.seal('', 'bob'), 'bob')).toBe('')
  })

  it('shows nothing of the text, and is another one each time', () => {
    const [one, two] = [sealer.seal('token', 'bob'), sealer.seal('token', 'bob')]
    expect(one).not.toBe(two)
    expect(Buffer.from(one, 'base64url').toString('latin1')).not.toContain('token')
  })

  it('does not open for another context or under another key', () => {
    const sealed = sealer.seal('token', 'bob')
    expect(sealer.open(sealed, 'carol')).toBeUndefined()
    expect(createSealer(generateKeyPairSync('ed25519').privateKey).open(sealed, 'bob')).toBeUndefined()
  })

  it('opens under another key of ours while the two are exchanged, whichever of them is the new one', () => {
    const other = generateKeyPairSync('ed25519').privateKey
    const both = [createSealer(privateKey, [other]), createSealer(other, [privateKey])]
    for (const one of both) for (const two of both) expect(two.open(one.seal('token', 'bob'), 'bob')).toBe('token')
    expect(sealer.open(both[0]?.seal('token', 'bob') ?? '', 'bob')).toBe('token')
    expect(sealer.open(both[1]?.seal('token', 'bob') ?? '', 'bob')).toBeUndefined()
  })

  it('does not open when a single bit was changed, wherever it is, or when it was cut', () => {
    const bytes = Buffer.from(sealer.seal('token', 'bob'), 'base64url')
    for (let index = 0; index < bytes.length; index += 1) {
      const changed = Buffer.from(bytes)
      changed[index] = (changed[index] ?? 0) ^ 1
      expect(sealer.open(changed.toString('base64url'), 'bob')).toBeUndefined()
    }
    expect(sealer.open(bytes.subarray(0, -1).toString('base64url'), 'bob')).toBeUndefined()
    expect(sealer.open('', 'bob')).toBeUndefined()
  })
})
