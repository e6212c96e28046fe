/** A small seeded generator (mulberry32): the same seed gives the same run. */
export function createRandom(seed: number) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    below,
    chance: (probability: number) => next() < probability,
    pick: <T>(items: readonly T[]): T => {
      const item = items[below(items.length)]
      if (item === undefined) throw new Error('nothing to pick from')
      return item
    },
    bytes: (length: number) => Buffer.from(Array.from({ length }, () => below(256))),
  }
}

export type Random = ReturnType<typeof createRandom>

/** What breaks parsers: long, empty, deep, double, and everything that some layer gives a meaning of its own. */
const NASTY = [
  '',
  '\0',
  '\r\n',
  '\r\n\r\n',
  '%00',
  '%2e%2e%2f',
  '..;/',
  '//',
  '\\',
  '%5c',
  '%',
  '%zz',
  '#',
  '?',
  ';',
  ',',
  '"',
  "'",
  ':',
  '::',
  '=',
  '{}',
  '[]',
  '[[[[[[[[',
  '{"a":'.repeat(500),
  'null',
  'true',
  '-1',
  '1e309',
  '9007199254740993',
  'NaN',
  '\ud800',
  'é',
  '​',
  '＠',
  '@',
  'a@b',
  'https://',
  'https://evil.example@',
  'HTTP/1.1',
  'chunked',
  'x'.repeat(9000),
  'Transfer-Encoding: chunked',
  '__proto__',
  'constructor',
]

/** The text with one to four small wounds: bytes changed, cut, doubled, or something nasty put in. */
export function wound(bytes: Buffer, random: Random): Buffer {
  let wounded = Buffer.from(bytes)
  for (let cuts = 1 + random.below(4); cuts > 0; cuts -= 1) {
    const at = random.below(wounded.length + 1)
    const to = Math.min(wounded.length, at + random.below(12))
    const [before, middle, after] = [wounded.subarray(0, at), wounded.subarray(at, to), wounded.subarray(to)]
    const instead = random.pick([
      () => Buffer.alloc(0),
      () => Buffer.concat([middle, middle]),
      () => random.bytes(1 + random.below(6)),
      () => Buffer.from(random.pick(NASTY)),
      () => Buffer.from(middle.map((byte) => byte ^ (1 << random.below(8)))),
    ])()
    wounded = Buffer.concat([before, instead, after])
  }
  return wounded
}

export function nasty(random: Random): string {
  return random.pick(NASTY)
}
