import { constants, createHash, type KeyObject, sign, verify } from 'node:crypto'
import {
  type Dictionary,
  type InnerList,
  type Item,
  isInnerList,
  parseDictionary,
  serializeDictionary,
} from 'structured-headers'
import { unauthorized } from '../core/errors.ts'
import { canonicalAuthority } from '../core/ocm-address.ts'
import { contentDigest, verifyContentDigest } from './content-digest.ts'
import type { KeyKind, VerificationKey } from './jwk.ts'
import { ComponentError, type SignedMessage, signatureBase } from './signature-base.ts'

/** What a verified signature says about the request, beyond that it is the sender’s. */
export interface VerifiedSignature {
  readonly keyid: string
  /** Epoch seconds. */
  readonly created: number
  /** SHA-256 of the signature base, base64url: the same request repeated has the same one, however its bytes were varied. */
  readonly fingerprint: string
  /** The signature had no `tag` and was accepted because the pairing tolerates that. */
  readonly untagged: boolean
}

export interface SignatureRules {
  /** Epoch seconds. */
  readonly now: number
  /** Canonical authority of the server that must have signed. */
  readonly senderDomain: string
  /** Accept the label `ocm` without a tag when `date` is covered: what Nextcloud 34 sends. */
  readonly tolerateUntagged: boolean
  /** The sender’s key for a whole `keyid`. Called only when everything else about the signature is in order. */
  readonly findKey: (keyid: string) => Promise<VerificationKey>
}

const REQUIRED_COMPONENTS = ['@method', '@target-uri', 'content-digest', 'content-length']
const FRESH_SECONDS = 300
const SKEW_SECONDS = 60

interface Algorithm {
  /** The name in RFC 9421 §6.2.2; none is registered for some RSA variants. */
  readonly name?: string
  readonly hash: string | null
  readonly options: Record<string, unknown>
}

const PKCS1 = { padding: constants.RSA_PKCS1_PADDING }
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
const RAW_ECDSA = { dsaEncoding: 'ieee-p1363' }

const ALGORITHMS: Record<Exclude<KeyKind, 'RSA'>, Algorithm> = {
  Ed25519: { name: 'ed25519', hash: null, options: {} },
  'P-256': { name: 'ecdsa-p256-sha256', hash: 'sha256', options: RAW_ECDSA },
  'P-384': { name: 'ecdsa-p384-sha384', hash: 'sha384', options: RAW_ECDSA },
}
const RSA_ALGORITHMS: Record<string, Algorithm> = {
  RS256: { name: 'rsa-v1_5-sha256', hash: 'sha256', options: PKCS1 },
  RS384: { hash: 'sha384', options: PKCS1 },
  RS512: { hash: 'sha512', options: PKCS1 },
  PS256: { hash: 'sha256', options: PSS },
  PS384: { hash: 'sha384', options: PSS },
  PS512: { name: 'rsa-pss-sha512', hash: 'sha512', options: PSS },
}

const ALGORITHM_NAMES = [...Object.values(ALGORITHMS), ...Object.values(RSA_ALGORITHMS)].flatMap(
  ({ name }) => name ?? [],
)

/**
 * Verifies the OCM signature of a request and its Content-Digest: the one signature tagged `ocm`, the components it must
 * cover, its age, that its `keyid` is the sender’s, and the signature bytes. No key is looked up before the rest is in order.
 *
 * @throws {GatewayError} 401 with a reason that starts `signature_` or `digest_`; whatever `findKey` throws
 * @see RFC 9421 §3.2, RFC 9530 §2
 *
 * Does NOT check that the sender is paired, nor replay: the caller compares `created` and `fingerprint` with what was applied.
 */
export async function verifySignature(
  message: SignedMessage,
  body: Uint8Array,
  { now, senderDomain, tolerateUntagged, findKey }: SignatureRules,
): Promise<VerifiedSignature> {
  const { input, signature, untagged } = selectSignature(message, tolerateUntagged)
  const { created, keyid, alg } = checkParameters(input, now)
  checkCoverage(input, untagged)
  checkKeyid(keyid, senderDomain)
  checkContentLength(message, body)
  verifyContentDigest(headerOf(message, 'content-digest') ?? '', body)
  const base = baseOf(input, message)
  const key = await findKey(keyid)
  if (!verifyBytes(key, alg, base, signature)) {
    throw unauthorized('signature_invalid', 'The signature does not verify with the sender’s key.', {
      detail: { keyid },
    })
  }
  return { keyid, created, fingerprint: createHash('sha256').update(base).digest('base64url'), untagged }
}

/** RFC 9421 §3.2, last steps: the algorithm named must be the key’s own, then the bytes decide. */
export function verifyBytes(
  key: VerificationKey,
  alg: string | undefined,
  base: string,
  signature: Uint8Array,
): boolean {
  const algorithm = algorithmFor(key, alg)
  if (algorithm === undefined) {
    throw unauthorized('signature_algorithm', `The signature’s alg ${alg} does not fit the key.`, {
      detail: { keyid: key.kid },
    })
  }
  return verify(algorithm.hash, Buffer.from(base), { key: key.key, ...algorithm.options }, signature)
}

function algorithmFor(key: VerificationKey, alg: string | undefined): Algorithm | undefined {
  if (key.kind !== 'RSA')
    return alg === undefined || alg === ALGORITHMS[key.kind].name ? ALGORITHMS[key.kind] : undefined
  if (key.alg !== undefined) {
    const own = RSA_ALGORITHMS[key.alg]
    return alg === undefined || alg === own?.name ? own : undefined
  }
  return Object.values(RSA_ALGORITHMS).find(({ name }) => name === (alg ?? 'rsa-v1_5-sha256'))
}

function selectSignature(message: SignedMessage, tolerateUntagged: boolean) {
  const inputs = dictionaryOf(message, 'signature-input')
  const signatures = dictionaryOf(message, 'signature')
  const tagged = [...inputs].filter(([, [, parameters]]) => parameters.get('tag') === 'ocm')
  if (tagged.length > 1)
    throw unauthorized('signature_ambiguous', 'More than one signature is tagged "ocm"; send exactly one.')
  const [label, input] = tagged[0] ?? untaggedSignature(inputs, tolerateUntagged)
  const member = signatures.get(label)
  if (!isInnerList(input) || member === undefined || isInnerList(member) || !(member[0] instanceof ArrayBuffer)) {
    throw unauthorized('signature_malformed', `The signature "${label}" has no list of components, or no bytes.`)
  }
  return { input, signature: new Uint8Array(member[0]), untagged: tagged.length === 0 }
}

function untaggedSignature(inputs: Dictionary, tolerated: boolean): [label: string, input: Item | InnerList] {
  const input = inputs.get('ocm')
  if (input === undefined || input[1].has('tag')) {
    throw unauthorized('signature_missing', 'No signature is tagged "ocm" (RFC 9421, tag="ocm").')
  }
  if (!tolerated) {
    throw unauthorized(
      'signature_untagged',
      'The signature has no tag="ocm"; older servers need tolerate: [untagged-signatures] in their pairing.',
    )
  }
  return ['ocm', input]
}

function dictionaryOf(message: SignedMessage, name: 'signature' | 'signature-input'): Dictionary {
  if (/^keyId=/.test(headerOf(message, 'signature') ?? '')) {
    throw unauthorized('signature_missing', 'The signature is of the older Cavage draft; RFC 9421 is needed.')
  }
  const field = headerOf(message, name)
  if (field === undefined) {
    throw unauthorized('signature_missing', `The request has no ${name} header (HTTP Message Signatures, RFC 9421).`)
  }
  const labels = topLevelKeys(field)
  if (new Set(labels).size !== labels.length) {
    throw unauthorized('signature_ambiguous', `A label occurs twice in ${name}; each may occur once.`)
  }
  try {
    return parseDictionary(field)
  } catch (cause) {
    throw unauthorized('signature_malformed', `The ${name} header is not a structured-field dictionary.`, { cause })
  }
}

/** The keys of a structured-field dictionary as written: a parser keeps only the last of two equal ones (RFC 9651 §4.2.2). */
function topLevelKeys(field: string): string[] {
  let quoted = false
  let outside = ''
  for (let index = 0; index < field.length; index += 1) {
    const char = field[index] ?? ''
    if (quoted && char === '\\') index += 1
    else if (char === '"') quoted = !quoted
    else if (!quoted) outside += char
  }
  return outside.split(',').map((member) => member.trim().split(/[=;]/, 1)[0] ?? '')
}

function checkParameters(input: InnerList, now: number) {
  const [, parameters] = input
  const created = parameters.get('created')
  const expires = parameters.get('expires')
  const keyid = parameters.get('keyid')
  const alg = parameters.get('alg')
  if (typeof created !== 'number' || !Number.isSafeInteger(created)) {
    throw unauthorized('signature_created', 'The signature has no created time (epoch seconds).')
  }
  if (created > now + SKEW_SECONDS)
    throw unauthorized('signature_future', `The signature was created ${Math.round(created - now)} s in the future.`)
  if (created < now - FRESH_SECONDS) {
    throw unauthorized(
      'signature_stale',
      `The signature is ${Math.round(now - created)} s old; at most ${FRESH_SECONDS} s are accepted.`,
    )
  }
  if (expires !== undefined && (typeof expires !== 'number' || expires < now)) {
    throw unauthorized('signature_expired', 'The signature’s expires time has passed.')
  }
  if (typeof keyid !== 'string') throw unauthorized('signature_keyid', 'The signature has no keyid.')
  if (alg !== undefined && !(typeof alg === 'string' && ALGORITHM_NAMES.includes(alg)))
    throw unauthorized(
      'signature_algorithm',
      `The signature’s alg is not one of the asymmetric algorithms: ${ALGORITHM_NAMES.join(', ')}.`,
    )
  return { created, keyid, alg }
}

function checkCoverage([components]: InnerList, untagged: boolean): void {
  const covered = new Set(components.filter(([, parameters]) => parameters.size === 0).map(([name]) => name))
  const required = untagged ? [...REQUIRED_COMPONENTS, 'date'] : REQUIRED_COMPONENTS
  const missing = required.filter((name) => !covered.has(name))
  if (missing.length > 0)
    throw unauthorized('signature_coverage', `The signature does not cover ${missing.join(', ')}.`)
}

/** The authority that a `keyid` claims: `https://host[:port][/path]#fragment` or `host[:port]#fragment`. */
export function keyidAuthority(keyid: string): string | undefined {
  const authority = /^(?:https?:\/\/)?([^/#?@\\\s]+)(?:\/[^#@\\\s]*)?#[^\s]+$/.exec(keyid)?.[1]
  return authority === undefined ? undefined : canonicalAuthority(authority)
}

function checkKeyid(keyid: string, senderDomain: string): void {
  if (keyidAuthority(keyid) === senderDomain) return
  throw unauthorized(
    'signature_keyid',
    'The signature’s keyid is not of the sender’s host. Nextcloud: check ocm_signed_request_identity_external.',
    {
      detail: { keyid: keyid.slice(0, 300), senderDomain },
    },
  )
}

function checkContentLength(message: SignedMessage, body: Uint8Array): void {
  if (headerOf(message, 'content-length') !== String(body.byteLength)) {
    throw unauthorized('signature_length', 'The Content-Length is not the length of the body.')
  }
}

function baseOf(input: InnerList, message: SignedMessage): string {
  try {
    return signatureBase(input, message)
  } catch (error) {
    if (error instanceof ComponentError)
      throw unauthorized('signature_component', `The signature cannot be checked: ${error.message}.`)
    throw error
  }
}

function headerOf({ headers }: SignedMessage, name: string): string | undefined {
  const values = headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value.trim())
  return values.length === 0 ? undefined : values.join(', ')
}

/** What `signRequest` needs to sign as `keyid`. */
export interface RequestSigner {
  readonly keyid: string
  readonly key: KeyObject
  readonly kind: Exclude<KeyKind, 'RSA'>
}

/**
 * The headers that make a request signed as OCM asks: `Content-Digest`, `Content-Length`, `Signature-Input`, `Signature`,
 * label `ocm`, tag `ocm`.
 *
 * @param now epoch seconds
 * @see RFC 9421 §3.1
 */
export function signRequest(
  { method, url, body }: { method: string; url: string; body: Uint8Array },
  { keyid, key, kind }: RequestSigner,
  now: number,
): Record<string, string> {
  const headers = { 'content-digest': contentDigest(body), 'content-length': String(body.byteLength) }
  const parameters = new Map<string, number | string>([
    ['created', Math.floor(now)],
    ['keyid', keyid],
    ['tag', 'ocm'],
  ])
  const input: InnerList = [REQUIRED_COMPONENTS.map((name) => [name, new Map()]), parameters]
  const base = signatureBase(input, { method, targetUri: url, headers: Object.entries(headers) })
  const { hash, options } = ALGORITHMS[kind]
  const signature = sign(hash, Buffer.from(base), { key, ...options })
  return {
    ...headers,
    'signature-input': serializeDictionary(new Map([['ocm', input]])),
    signature: serializeDictionary(new Map([['ocm', [signature, new Map()]]])),
  }
}
