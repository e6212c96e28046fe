import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { BOB, type Scene, startScene } from './harness.ts'

let scene: Scene

beforeAll(async () => {
  scene = await startScene()
})
afterAll(() => scene.close())

/** `ocm-gateway why`, beside the running gateway. */
async function why(token: string): Promise<{ code: number; out: string }> {
  const child = spawn(process.execPath, ['src/cli.ts', 'why', '--config', scene.gateway.configFile], { stdio: 'pipe' })
  child.stdin.end(token)
  const exited = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? -1)))
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), exited])
  expect(out + err).not.toContain(token)
  return { code, out }
}

it('says what a good token would be granted', async () => {
  const share = await scene.share()
  const { code, out } = await why(await scene.token({ share }))
  expect(out).toContain(`granted       view, read, write on "Field notes.md" to ${BOB} (provisioned)`)
  expect([code, out.trim().split('\n').at(-1)]).toEqual([0, 'accepted'])
})

it('names the announced ids when the token’s client_id is none of them', async () => {
  const share = await scene.share()
  const { code, out } = await why(await scene.token({ share, claims: { client_id: 'another' } }))
  expect(code).toBe(1)
  expect(out).toContain('refused       share_unknown: ')
  expect(out).toContain('  clientId: another')
  expect(out).toContain(`  ${share.providerId}: "Field notes.md"`)
})

it('says by how much a token is too late', async () => {
  const share = await scene.share()
  const exp = Math.floor(Date.now() / 1000) - 3600
  const { code, out } = await why(await scene.token({ share, claims: { exp } }))
  expect(code).toBe(1)
  expect(out).toMatch(/^exp {11}36\d\d s ago, by this machine’s clock/m)
  expect(out).toMatch(/^refused {7}token_expired: The token expired 36\d\d s ago\.$/m)
  expect(out).toMatch(/^what to do /m)
})

it('says whose shares are not served here', async () => {
  const share = await scene.share()
  const { code, out } = await why(await scene.token({ share, claims: { iss: 'https://elsewhere.example' } }))
  expect(code).toBe(1)
  expect(out).toContain('refused       issuer_not_paired: This gateway does not serve shares of elsewhere.example.')
})
