import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { signRequest } from '../../src/trust/http-signature.ts'
import { bytesOf, type Scene, startScene } from '../flow/harness.ts'
import { openConnection } from '../flow/raw-http.ts'
import { type Attack, attack, type Samples } from './attacks.ts'
import { createRandom } from './mutate.ts'

/** `npm run fuzz`: how long, and from which seed. Seeds that once found something are in seeds.json and run first. */
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 60)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const KEPT: number[] = JSON.parse(readFileSync(new URL('seeds.json', import.meta.url), 'utf8'))
const AT_ONCE = 16
const KEPT_ATTACKS = 300
const ANSWER_LIMIT_MS = 35_000

let scene: Scene
let samples: Samples

beforeAll(async () => {
  scene = await startScene({ server: { limits: { failuresPerMinute: 10_000_000, requestTimeout: '5s' } } })
  const share = await scene.share()
  const signed = (path: string, body: object) => {
    const text = Buffer.from(JSON.stringify(body))
    const url = `${scene.gateway.origin}/ocm/${path}`
    const headers = signRequest({ method: 'POST', url, body: text }, scene.alice.keys.current, Date.now() / 1000)
    const { 'content-length': _, ...rest } = headers
    return bytesOf(scene.gateway, `/ocm/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...rest },
      body: text,
    })
  }
  samples = {
    token: await scene.token({ share }),
    signedShare: signed('shares', scene.alice.notification(share)),
    signedRevoke: signed('revoke', { sender: scene.alice.address, providerId: share.providerId }),
  }
}, 60_000)
afterAll(() => scene.close())

/** Sends the bytes, waits for an answer or for the end of the connection. @returns the status, 0 for none */
async function send({ bytes, name }: Attack, seed: number): Promise<number> {
  const connection = openConnection(scene.gateway.port)
  connection.write(bytes)
  connection.socket.end()
  const late = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`no answer to "${name}" of seed ${seed}`)), ANSWER_LIMIT_MS).unref(),
  )
  const { status } = await Promise.race([connection.read(), late])
  connection.socket.destroy()
  return status
}

/** Attacks of one seed, several at once. */
async function run(seed: number, goOn: (done: number) => boolean): Promise<number> {
  const random = createRandom(seed)
  let done = 0
  const worker = async () => {
    while (goOn(done)) {
      done += 1
      const one = attack(scene, samples, random)
      const status = await send(one, seed)
      expect(
        one.isYes(status),
        `"${one.name}" of seed ${seed} was answered ${status}:\n${one.bytes.toString('latin1').slice(0, 3000)}`,
      ).toBe(false)
      expect(
        status,
        `"${one.name}" of seed ${seed} broke something:\n${one.bytes.toString('latin1').slice(0, 3000)}`,
      ).not.toBe(500)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  expect(scene.gateway.alive, `the gateway ended at seed ${seed}`).toBe(true)
  expect(scene.gateway.eventsNamed('unexpected'), `seed ${seed}`).toEqual([])
  return done
}

describe('the gateway lives, answers, and never says yes', () => {
  it.each(KEPT)(
    'seed %i',
    async (seed) => {
      expect(await run(seed, (done) => done < KEPT_ATTACKS)).toBeGreaterThanOrEqual(KEPT_ATTACKS)
    },
    120_000,
  )

  it(
    `seed ${SEED}, for ${SECONDS} s`,
    async () => {
      const end = Date.now() + SECONDS * 1000
      const done = await run(SEED, () => Date.now() < end)
      expect(done).toBeGreaterThan(0)
      expect(scene.app.requests).toEqual([])
      process.stdout.write(`fuzz: seed ${SEED}, ${done} attacks in ${SECONDS} s\n`)
    },
    SECONDS * 1000 + 120_000,
  )
})
