import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launch, send } from '../flow/harness.ts'
import { type Replicas, startReplicas } from '../flow/replicas.ts'

type Replica = Replicas['replicas'][number]

/** What `docs/operating.md` says that clocks may differ. */
const TOKEN_LEEWAY = 60
const SIGNATURE_AHEAD = 60
const SIGNATURE_AGE = 300
/** How long a case of this file may take. */
const MARGIN = 20

const json = { accept: 'application/json' }
const clock = () => Math.floor(Date.now() / 1000)

describe.each([{ off: 20 }, { off: -20 }, { off: 120 }, { off: -120 }])(
  'a replica whose clock is off by $off s',
  { timeout: 60_000 },
  ({ off }) => {
    let scene: Replicas
    let right: Replica
    let wrong: Replica

    beforeAll(async () => {
      scene = await startReplicas(({ port }) => [port, port])
      ;[right, wrong] = scene.replicas as [Replica, Replica]
      await wrong.process.terminate()
      await wrong.process.start({ clockOff: off })
    })
    afterAll(() => scene.close())

    it('has another time than we have', async () => {
      const { time } = await wrong.process.event('listening')
      expect(Math.abs(Number(time) / 1000 - off - Date.now() / 1000)).toBeLessThan(10)
    })

    it('serves nothing of what another one revoked, nor another one what it revoked itself', async () => {
      const visit = async (at: Replica, cookie: string) =>
        (await send(at, '/notes/', { headers: { cookie, ...json } })).status
      const reach = async (cookie: string) => [await visit(right, cookie), await visit(wrong, cookie)]
      for (const revoking of [right, wrong]) {
        const { cookie, share, token } = await scene.open(right)
        expect(await reach(cookie)).toEqual([200, 200])
        const answer = await scene.revoke(revoking, share)
        // A signature from its future is refused; the cloud asks again, and a replica with a right clock takes it.
        const tooSlow = revoking === wrong && -off > SIGNATURE_AHEAD
        expect(answer).toBe(tooSlow ? 401 : 200)
        if (tooSlow) expect(await scene.revoke(right, share)).toBe(200)
        expect(await reach(cookie)).toEqual([401, 401])
        for (const at of [right, wrong]) expect([401, 410]).toContain((await launch(at, token)).status)
      }
    })

    it('believes tokens by its own clock, and says why when it does not: what is long expired opens nothing', async () => {
      const share = await scene.share()
      const open = async (at: Replica, claims: { iat: number; exp: number }) => {
        const { status, response } = await launch(at, await scene.alice.mintToken({ share, claims }), { headers: json })
        return status === 303 ? 'opened' : response.json().reason
      }
      const ended = (ago: number) => ({ iat: clock() - ago - 3600, exp: clock() - ago })
      const made = (ahead: number) => ({ iat: clock() + ahead, exp: clock() + ahead + 3600 })
      expect(await open(wrong, ended(TOKEN_LEEWAY - off - MARGIN))).toBe('opened')
      expect(await open(wrong, ended(TOKEN_LEEWAY - off + MARGIN))).toBe('token_expired')
      expect(await open(wrong, made(TOKEN_LEEWAY + off - MARGIN))).toBe('opened')
      expect(await open(wrong, made(TOKEN_LEEWAY + off + MARGIN))).toBe('token_not_yet_valid')
      for (const at of [right, wrong])
        expect(await open(at, ended(TOKEN_LEEWAY + Math.abs(off) + MARGIN))).toBe('token_expired')
      expect(await open(right, made(0))).toBe('opened')
    })

    it('believes signatures by its own clock, and says why when it does not', async () => {
      const announce = async (created: number) => {
        // Another one each time: an older request about the same share would be refused for that.
        const share = { ...(await scene.share()), providerId: `signed at ${created}` }
        const answer = await scene.announce(wrong, share, created)
        return answer.status === 201 ? 'taken' : answer.json().reason
      }
      expect(await announce(clock() + off + SIGNATURE_AHEAD - MARGIN)).toBe('taken')
      expect(await announce(clock() + off + SIGNATURE_AHEAD + MARGIN)).toBe('signature_future')
      expect(await announce(clock() + off - SIGNATURE_AGE + MARGIN)).toBe('taken')
      expect(await announce(clock() + off - SIGNATURE_AGE - MARGIN)).toBe('signature_stale')
    })
  },
)
