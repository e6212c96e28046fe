import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Frames } from '../../../src/proxy/frames.ts'

/** A frame as a server sends it, or a client (RFC 6455 §5.2). */
function frame(length: number, masked = false): Buffer {
  const bit = masked ? 0x80 : 0
  const head =
    length < 126
      ? Buffer.from([0x82, bit | length])
      : length < 65_536
        ? Buffer.from([0x82, bit | 126, length >> 8, length & 0xff])
        : Buffer.from([0x82, bit | 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 0xff, length & 0xff])
  return Buffer.concat([head, Buffer.alloc(masked ? 4 : 0, 0x55), Buffer.alloc(length, 0xff)])
}

const lengths = fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(65_535, 65_536, 70_000))

describe('the frames of a WebSocket', () => {
  it('end where they end, however they are cut into chunks', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(lengths, fc.boolean()), { maxLength: 5 }), fc.array(fc.nat(99)), (wishes, cuts) => {
        const whole = wishes.map(([length, masked]) => frame(length, masked))
        const ends = new Set(whole.map((_, index) => Buffer.concat(whole.slice(0, index + 1)).length).concat(0))
        const bytes = Buffer.concat(whole)
        const frames = new Frames()
        let at = 0
        for (const cut of [...cuts, bytes.length]) {
          frames.follow(bytes.subarray(at, at + cut))
          at = Math.min(at + cut, bytes.length)
          expect(frames.between).toBe(ends.has(at))
        }
      }),
      { numRuns: 200 },
    )
  })

  it.each([0, 1, 125, 126, 65_535, 65_536])(
    'of %i bytes: the rest of one is found in the chunk that ends it',
    (length) => {
      const [first, second] = [frame(length), frame(5)]
      const frames = new Frames()
      frames.follow(first.subarray(0, 1))
      expect(frames.finish(Buffer.concat([first.subarray(1), second]))).toBe(first.length - 1)
      expect(frames.between).toBe(true)
      expect(frames.finish(second)).toBe(0)
    },
  )

  it('a frame that does not end in a chunk has all of it', () => {
    const frames = new Frames()
    frames.follow(frame(100).subarray(0, 10))
    expect(frames.finish(Buffer.alloc(20))).toBe(20)
    expect(frames.between).toBe(false)
  })
})
