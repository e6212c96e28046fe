import { createHmac } from 'node:crypto'
import { BOB, bytesOf, form, type Scene } from '../flow/harness.ts'
import { nasty, type Random, wound } from './mutate.ts'

/** What is thrown at the gateway, and what may never come back. */
export interface Attack {
  readonly name: string
  readonly bytes: Buffer
  /** A status that would be a "yes". */
  readonly isYes: (status: number) => boolean
}

/** Good requests of a real cloud, to be wounded. */
export interface Samples {
  readonly token: string
  readonly signedShare: Buffer
  readonly signedRevoke: Buffer
}

const LAUNCH = '/notes/.ocm/open'
const isRedirect = (status: number) => status === 303
const isSuccess = (status: number) => status >= 200 && status < 300

/** A token that differs from the good one in what it decodes to, not only in how it is spelled. */
function woundedToken({ token }: Samples, random: Random): string {
  for (;;) {
    const parts = token.split('.')
    const which = random.below(3)
    const decoded = Buffer.from(parts[which] ?? '', 'base64url')
    const changed = wound(decoded, random)
    if (changed.equals(decoded)) continue
    parts[which] = changed.toString('base64url')
    return parts.join('.')
  }
}

/** A token of the attacker’s own making: claims as they should be, header and signature as nobody should accept them. */
function forgedToken(scene: Scene, random: Random): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const alg = random.pick(['none', 'None', 'HS256', 'ES256', 'RS256', 'EdDSA', '', 'ES256K'])
  const kid = random.pick([scene.alice.keys.current.keyid, nasty(random), '../../etc/passwd', `x${random.below(1e9)}`])
  const header = {
    typ: random.pick(['at+jwt', 'JWT', 'application/at+jwt']),
    alg,
    kid,
    ...(random.chance(0.3) && { jwk: {}, jku: 'https://evil.example' }),
  }
  const now = Math.floor(Date.now() / 1000)
  const iss = random.pick([
    `https://${scene.alice.domain}`,
    `https://${scene.alice.domain}@evil.example`,
    nasty(random),
  ])
  const claims = { iss, sub: 'alice', aud: BOB, client_id: String(random.below(50)), exp: now + 3600, iat: now }
  const input = `${part(header)}.${part(claims)}`
  const signature = random.pick([
    () => '',
    () => createHmac('sha256', JSON.stringify(scene.alice.keys.jwks())).update(input).digest('base64url'),
    () => random.bytes(64).toString('base64url'),
    () => random.bytes(random.below(200)).toString('base64url'),
  ])()
  return `${input}.${signature}`
}

function launchWith(scene: Scene, token: string, random: Random): Buffer {
  const fields: [string, string][] = [['access_token', token]]
  if (random.chance(0.3))
    fields.push([random.pick(['access_token_ttl', 'expired_session_redirect_uri', 'redirect_uri', 'x']), nasty(random)])
  const suffix = random.chance(0.2) ? `/${random.pick(['a', '..%2f', 'a/b', '%00', '~'])}` : ''
  return bytesOf(scene.gateway, LAUNCH + suffix, form(fields))
}

const TARGETS = [
  '/notes/',
  '/notes/a',
  '/notes/.ocm/session',
  LAUNCH,
  '/ocm/shares',
  '/.well-known/jwks.json',
  '/notes/../',
  '*',
  'http://x/',
]

/** HTTP as no client writes it. */
function rawRequest(scene: Scene, random: Random): Buffer {
  const method = random.pick(['GET', 'POST', 'PUT', 'OPTIONS', 'TRACE', 'CONNECT', 'get', 'FOO', 'HEAD'])
  const headers = {
    Connection: random.pick(['close', 'Upgrade', 'keep-alive, X-OCM-User', nasty(random).replace(/[\r\n]/g, '')]),
    Upgrade: random.chance(0.3) ? random.pick(['websocket', 'h2c']) : undefined,
    'Sec-WebSocket-Key': random.chance(0.2) ? 'dGhlIHNhbXBsZSBub25jZQ==' : undefined,
    'Sec-WebSocket-Version': random.chance(0.2) ? '13' : undefined,
    Cookie: random.chance(0.5)
      ? `__Secure-ocm-notes-${random.bytes(4).toString('hex')}=${random.bytes(32).toString('base64url')}`
      : undefined,
    'Transfer-Encoding': random.chance(0.1) ? 'chunked' : undefined,
    'X-Forwarded-For': random.chance(0.1) ? '127.0.0.1, ::1, x' : undefined,
  }
  return wound(
    bytesOf(scene.gateway, random.pick(TARGETS), {
      method,
      headers,
      body: random.chance(0.3) ? nasty(random) : undefined,
    }),
    random,
  )
}

/** A signed request, wounded behind its signature: in the body, or in a header that is covered. */
function woundedSigned(good: Buffer, random: Random): Buffer {
  const split = good.indexOf('\r\n\r\n') + 4
  const [head, body] = [good.subarray(0, split).toString('latin1'), good.subarray(split)]
  if (random.chance(0.5)) {
    const flipped = Buffer.from(body)
    const at = random.below(flipped.length)
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(7))
    return Buffer.concat([Buffer.from(head, 'latin1'), flipped])
  }
  const changed = random.pick([
    () => head.replace(/created=\d+/, `created=${random.below(2_000_000_000)}`),
    () => head.replace(/keyid="[^"]*"/, `keyid="${random.pick(['https://evil.example/ocm#1', 'x', 'a#b'])}"`),
    () => head.replace(/tag="ocm"/, random.pick(['tag="x"', '', 'tag=ocm'])),
    () => head.replace(/^(signature: ocm=:)(.{8})/im, (_, lead: string) => lead + random.bytes(6).toString('base64')),
    () => head.replace(/"@target-uri"/, random.pick(['"@path"', '"@target-uri";req', '"@status"'])),
    () => head.replace(/^POST \S+/, `POST ${random.pick(['/ocm/shares?x', '/ocm/revoke?', '/ocm/close?a'])}`),
    () => head.replace(/^signature-input: /im, (name) => `${name}ocm=("@method");created=1;keyid="a#b";tag="ocm", `),
  ])()
  return Buffer.concat([Buffer.from(changed, 'latin1'), body])
}

/** One attack of some kind, decided by the generator. */
export function attack(scene: Scene, samples: Samples, random: Random): Attack {
  return random.pick<() => Attack>([
    () => ({
      name: 'launch with a wounded token',
      bytes: launchWith(scene, woundedToken(samples, random), random),
      isYes: isRedirect,
    }),
    () => ({
      name: 'launch with a forged token',
      bytes: launchWith(scene, forgedToken(scene, random), random),
      isYes: isRedirect,
    }),
    () => ({ name: 'wounded provisioning', bytes: woundedSigned(samples.signedShare, random), isYes: isSuccess }),
    () => ({ name: 'wounded revocation', bytes: woundedSigned(samples.signedRevoke, random), isYes: isSuccess }),
    () => ({ name: 'raw HTTP', bytes: rawRequest(scene, random), isYes: (status) => status === 101 || status === 201 }),
    () => ({ name: 'noise', bytes: random.bytes(1 + random.below(400)), isYes: isSuccess }),
  ])()
}
