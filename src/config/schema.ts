import { BlockList, isIP } from 'node:net'
import { resolve } from 'node:path'
import { z } from 'zod'
import { canonicalAuthority } from '../core/ocm-address.ts'
import type { Secret } from '../core/secret.ts'
import { parseDuration } from '../core/time.ts'
import { nearest } from './messages.ts'
import { parseRedisUrl } from './store-url.ts'

/** What the schema needs from outside: where relative paths start, and how a secret file is read. */
export interface ConfigSources {
  readonly baseDir: string
  /** @throws an error whose message can follow "cannot be read: " */
  readonly readSecret: (path: string) => Secret
}

/** An app kind as the configuration sees it: its name, and the schema of the options under that name. */
export interface KindSchema {
  readonly kind: string
  /** It manages what is at its upstream as a whole, so that two webapps must not share one. */
  readonly ownsUpstream?: boolean
  readonly options: (fields: Fields) => z.ZodType
}

/** Field types that app kinds share with the gateway's own configuration. */
export type Fields = ReturnType<typeof createFields>

const SIZE_UNITS: Record<string, number> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

/** Text of one form; `be` completes the sentence "must be …", also when there is nothing, or no text at all. */
function text(be: string, test: RegExp | ((text: string) => boolean)) {
  const error = `must be ${be}`
  const anyText = z.string({ error })
  return test instanceof RegExp
    ? anyText.regex(test, { error, abort: true })
    : anyText.refine(test, { error, abort: true })
}

/** Does NOT refuse http: whether it is allowed depends on the host and on `server.insecureLoopback`. */
function isHttpUrl(candidate: string): boolean {
  if (/\s/.test(candidate) || !URL.canParse(candidate)) return false
  const { protocol, username, password, hash, host } = new URL(candidate)
  return /^https?:$/.test(protocol) && username + password + hash === '' && canonicalAuthority(host) !== undefined
}

// No dot segments, and no `.ocm`, which is the gateway's own below every webapp.
const SEGMENT = String.raw`(?!(?:\.{1,2}|\.ocm)(?:\/|$))[A-Za-z0-9._~-]+`
const ABSOLUTE_PATH = new RegExp(`^(?:/${SEGMENT})+$`)
const BASE_PATH = new RegExp(`^(?:/${SEGMENT})*/$`)

const writtenPath = (url: string) => url.replace(/^https?:\/\/[^/]*/i, '')

export function createFields({ baseDir, readSecret }: ConfigSources) {
  const file = text('the path of a file', (path) => path !== '').transform((path) => resolve(baseDir, path))

  /** The outcome of a read that may fail; the failure becomes a problem of this field. */
  function attempt<T>(read: () => T, context: { addIssue(message: string): void }): T {
    try {
      return read()
    } catch (error) {
      context.addIssue(`cannot be read: ${(error as Error).message}`)
      return z.NEVER
    }
  }

  return {
    /** `"300s"` → 300 (seconds). */
    duration: text('a duration such as 300s, 10m or 8h', /^\d{1,9}(ms|s|m|h|d)$/).transform(
      (written) => parseDuration(written) ?? 0,
    ),
    /** `"64KiB"` → 65536 (bytes). */
    size: text('a size such as 64KiB, 512MiB or 1GiB', /^\d{1,9}(B|KiB|MiB|GiB)$/).transform(
      (written) => Number.parseInt(written, 10) * (SIZE_UNITS[written.replace(/^\d+/, '')] ?? 1),
    ),
    /** A URL that this gateway calls. */
    httpUrl: text('an http:// or https:// URL such as http://app:8000/, without user name or #', isHttpUrl),
    /** A URL that browsers or OCM servers call. */
    publicUrl: text(
      'an https:// URL such as https://apps.example.org/, without user name, query or #',
      (url) => isHttpUrl(url) && !/[?#@\\]/.test(url),
    ),
    /** A path, made absolute; the file may be missing. */
    file,
    /** A path, made absolute, to a file that can be read now. */
    readableFile: file.transform((path, context) => attempt(() => readSecret(path) && path, context)),
    /** A path to a file whose content (less a trailing newline) is the value. */
    secretFile: file.transform((path, context) => attempt(() => readSecret(path), context)),
  }
}

const PERMISSION = z.enum(['view', 'read', 'write', 'share'])
const MODE = z.enum(['provisioned', 'self-contained', 'introspected'])
const TOLERANCE = z.enum(['untagged-signatures', 'untyped-tokens'])

const listenAddress = text('host:port such as 0.0.0.0:8080 or [::]:8080', /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):\d{1,5}$/)
  .refine((address) => portOf(address) < 65_536, { error: 'must have a port from 0 to 65535' })
  .transform((address) => ({
    host: address.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''),
    port: portOf(address),
  }))

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1))
}

function isAddressRange(range: string): boolean {
  const [, address = '', prefix] = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(range) ?? []
  const family = isIP(address)
  return family !== 0 && Number(prefix ?? 0) <= (family === 4 ? 32 : 128)
}

function blockListOf(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return list
}

const addressRanges = z
  .array(text('an address or a range such as 10.0.0.0/8', isAddressRange))
  .default([])
  .transform(blockListOf)

const domain = text(
  'a host name, with a port if it has one, such as cloud.example.org, without scheme or path',
  (name) => canonicalAuthority(name) !== undefined,
).transform((name) => canonicalAuthority(name) ?? name)

const origin = text(
  'an origin such as https://portal.example.org, without path or slash at the end',
  (url) => isHttpUrl(url) && new URL(url).origin === url.toLowerCase(),
).transform((url) => url.toLowerCase())

const absolutePath = text('a path such as /ocm, without a slash at the end and without .ocm in it', ABSOLUTE_PATH)

const RESERVED_HEADER =
  /^(?:x-ocm-.*|x-forwarded-.*|forwarded|host|connection|content-length|transfer-encoding|upgrade|te|trailer|keep-alive)$/i

const headerName = text('a header name without spaces, dots or underscores', /^[A-Za-z0-9!#$%&'*+^|~-]{1,100}$/).refine(
  (name) => !RESERVED_HEADER.test(name),
  { error: 'must not be a header that the gateway sets itself' },
)

const PLACEHOLDERS = ['user', 'userId', 'userHost', 'owner', 'shareId', 'permissions', 'resourceName']

const headerTemplate = z
  .string()
  .max(1000)
  // The text is not repeated in the message: it may be a credential for the app.
  .regex(/^[\x20-\x7e]*$/, {
    error: 'has a line break or a letter outside ASCII (must be one line of plain ASCII)',
    abort: true,
  })
  .superRefine((template, context) => {
    for (const [, name = ''] of template.matchAll(/\{(\w+)\}/g)) {
      if (PLACEHOLDERS.includes(name)) continue
      const meant = nearest(name, PLACEHOLDERS)
      context.addIssue(
        `has the unknown placeholder {${name}} (${meant ? `did you mean {${meant}}?` : `known: ${PLACEHOLDERS.join(', ')}`})`,
      )
    }
  })

const cookiePrefix = text('1 to 40 letters, digits, _ or -', /^[A-Za-z0-9_-]{1,40}$/).refine(
  (prefix) => !/^__Host(-|$)/i.test(prefix),
  {
    error:
      'must not be __Host-: browsers refuse such a cookie unless its Path is /, and ours has the path of one share; write __Secure-ocm',
  },
)

/** A length of time for which nothing at all would make no sense. */
const someTime = (fields: Fields) =>
  fields.duration.refine((seconds) => seconds > 0, { error: 'must be longer than 0s' })

const MAX_WORKERS = 64

/** The whole `server` section. */
export function serverSchema(fields: Fields) {
  return z.strictObject({
    publicUrl: fields.publicUrl
      .refine((url) => new URL(url).pathname === '/', {
        error:
          'must have no path, like https://apps.example.org; the path of the Integration API is server.integrationApi',
      })
      .describe('This gateway as OCM servers and browsers see it; its host is our OCM-IP domain'),
    listen: listenAddress
      .prefault('0.0.0.0:8080')
      .describe('Address and port of the public listener; port 0 takes a free one'),
    adminListen: listenAddress
      .prefault('127.0.0.1:9090')
      .describe('Address and port of /healthz, /readyz and /metrics; never on the public listener'),
    trustedProxies: addressRanges.describe('Who may say X-Forwarded-For and -Proto; for logs and rate limits only'),
    integrationApi: absolutePath.default('/ocm').describe('Path of the Integration API below publicUrl'),
    signingKeyFile: fields.file
      .prefault('./data/signing-key.json')
      .describe('Private JWK (Ed25519); created on first start when missing and the folder is writable'),
    furtherSigningKeyFiles: z
      .array(fields.readableFile)
      .default([])
      .describe(
        'Private JWKs that are published, and open what was sealed under them, but never sign: for key rotation',
      ),
    watchFiles: z
      .boolean()
      .default(true)
      .describe('Reload when this file, or a file that it names, changes; SIGHUP always reloads'),
    drainDelay: fields.duration
      .prefault('0s')
      .describe('On SIGTERM: how long to be not ready, and go on, before nobody new is let in'),
    drainTimeout: fields.duration.prefault('10s').describe('On SIGTERM, after drainDelay: time for requests under way'),
    workers: z
      .union([z.int().min(1).max(MAX_WORKERS), z.literal('auto')], {
        error: `must be from 1 to ${MAX_WORKERS}, or auto`,
      })
      .default(1)
      .describe('Processes that serve; auto: one for each CPU. They share a store in SQLite or Redis'),
    insecureLoopback: z
      .boolean()
      .default(false)
      .describe(
        'true: accept http and unverified names for loopback hosts only (localhost, *.localhost, 127.0.0.0/8, ::1); for demos and tests',
      ),
    tls: z
      .strictObject({
        certFile: fields.readableFile.describe('Certificate chain, PEM'),
        keyFile: fields.readableFile.describe('Private key, PEM'),
      })
      .optional()
      .describe('Serve https ourselves; reloaded when the files change. Default: a proxy in front ends TLS'),
    limits: z
      .strictObject({
        form: fields.size.prefault('64KiB').describe('Largest launch form'),
        json: fields.size.prefault('256KiB').describe('Largest Integration API body'),
        failuresPerMinute: z
          .int()
          .positive()
          .default(1200)
          .describe('Launches and back-channel requests a client address may fail before it is answered 429'),
        connectionsPerAddress: z
          .int()
          .positive()
          .default(2000)
          .describe(
            'Connections one client address may have open, WebSockets included; trustedProxies may have any number',
          ),
        requestTimeout: someTime(fields)
          .prefault('30s')
          .describe('Time for the headers of any request, and for the body of one to our own endpoints'),
      })
      .prefault({})
      .describe('What a single client may ask of us'),
  })
}

/** One entry of `ocmServers`. */
export function pairingSchema(fields: Fields) {
  return z.strictObject({
    domain: domain.describe('The Sending Server: the host of its OCM addresses and of its tokens’ iss'),
    modes: z
      .array(MODE)
      .min(1)
      .default(['provisioned'])
      .describe('How this server may grant access; nothing else is honoured'),
    keysUrl: fields.httpUrl
      .optional()
      .describe('Its public keys (JWKS); default: discovered from https://<domain>/.well-known/ocm'),
    introspection: introspectionSchema(fields)
      .optional()
      .describe('Where this server is asked about credentials (RFC 7662); needed for the mode introspected'),
    permissions: z
      .array(PERMISSION)
      .default(['view', 'read', 'write', 'share'])
      .describe('Ceiling for all shares of this server'),
    receiverOrigins: z
      .array(origin)
      .default([])
      .describe('Further origins that may frame and receive expired sessions, besides the Receiving Server’s own'),
    sharedKeyFile: fields.secretFile
      .refine((secret) => Buffer.byteLength(secret.reveal()) >= 32, {
        error: 'holds less than 32 bytes (HS256 needs at least 32, RFC 7518 §3.2)',
      })
      .optional()
      .describe('File with a key dedicated to this pairing, for its HS256 tokens; off by default'),
    tolerate: z.array(TOLERANCE).default([]).describe('What older servers need; off by default'),
    limits: z
      .strictObject({
        shares: z.int().positive().default(100_000).describe('Shares kept for this server'),
        sessions: z.int().positive().default(10_000).describe('Sessions open at once'),
        requestsPerMinute: z.int().positive().default(600).describe('Requests that proved to come from this server'),
        introspectionsPerMinute: z.int().positive().default(600).describe('Questions to its introspection endpoint'),
      })
      .prefault({})
      .describe('Quotas of this server, so that it cannot slow the others'),
  })
}

const CLIENT_AUTHENTICATION = z.enum([
  'http-signature',
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'bearer',
  'none',
])
const NEEDS_CLIENT_ID = ['client_secret_basic', 'client_secret_post', 'private_key_jwt']
const NEEDS_SECRET = ['client_secret_basic', 'client_secret_post', 'bearer']

function introspectionSchema(fields: Fields) {
  return z
    .strictObject({
      url: fields.httpUrl.describe('The introspection endpoint'),
      issuer: fields.publicUrl
        .optional()
        .describe('The iss of its answers when it is not https://<domain>, such as that of a Keycloak realm'),
      auth: CLIENT_AUTHENTICATION.default('http-signature').describe('How our requests say who asks'),
      clientId: z.string().min(1).optional().describe('Our client identifier there'),
      clientSecretFile: fields.secretFile.optional().describe('File with the client secret, or the bearer token'),
      prefer: z.boolean().default(false).describe('Ask about JWTs too, instead of verifying them with its keys'),
    })
    .superRefine(({ auth, clientId, clientSecretFile }, context) => {
      const needs = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message })
      if (NEEDS_CLIENT_ID.includes(auth) && clientId === undefined) {
        needs('clientId', `is missing (auth: ${auth} needs our client identifier)`)
      }
      if (NEEDS_SECRET.includes(auth) && clientSecretFile === undefined) {
        needs('clientSecretFile', `is missing (auth: ${auth} needs a file with the secret)`)
      }
    })
}

/** What every webapp has, whatever its kind. */
export function webappFields(fields: Fields) {
  return {
    name: text(
      '1 to 40 lower-case letters, digits and inner hyphens such as notebooks',
      /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/,
    ).describe('Names the webapp in cookies, logs, metrics and assertions'),
    publicUrl: fields.publicUrl
      .refine((url) => url.endsWith('/'), { error: 'must end with /', abort: true })
      .refine((url) => BASE_PATH.test(writtenPath(url)), {
        error: 'must have a path of letters, digits and . _ ~ - only, without .ocm in it',
      })
      .describe('Where browsers reach the app: the gateway serves this origin and path'),
    upstream: fields.httpUrl
      .refine((url) => new URL(url).pathname.endsWith('/') && !url.includes('?'), {
        error: 'must end with / and have no query',
      })
      .describe('The app itself, as this gateway reaches it'),
    ocmServers: z.array(domain).optional().describe('Which pairings may launch it; default: all'),
    launchAliases: z.array(absolutePath).default([]).describe('Further launch paths on this origin'),
    match: z
      .strictObject({
        appNames: z.array(z.string()).default([]).describe('Names of the app in the share'),
        mediaTypes: z.array(z.string()).default([]).describe('Media types of the shared resource'),
        extensions: z
          .array(text('a file extension with its dot such as .ipynb', /^\../))
          .default([])
          .describe('File extensions, with their dot'),
      })
      .optional()
      .describe('Which provisioned shares are this app’s when their webapp.uri does not say so; default: any'),
    headers: z
      .record(headerName, headerTemplate)
      .default({})
      .describe(`Headers for the app, from templates with ${PLACEHOLDERS.map((name) => `{${name}}`).join(' ')}`),
    timeouts: z
      .strictObject({
        connect: someTime(fields).prefault('5s').describe('Until the app accepts the connection'),
        response: someTime(fields).prefault('120s').describe('Until the app’s response begins'),
        idle: someTime(fields).prefault('10m').describe('Without a byte in either direction'),
      })
      .prefault({})
      .describe('How long to wait for the app'),
  }
}

function sessionsSchema(fields: Fields) {
  return z.strictObject({
    maxAge: someTime(fields).prefault('8h').describe('Hard limit of a session'),
    idleTimeout: someTime(fields).prefault('1h').describe('A session ends after this time without a request'),
    boundTo: z
      .enum(['share', 'token'])
      .default('share')
      .describe('share: a provisioned session lives while its Share Record does; token: until the token’s exp'),
    cookiePrefix: cookiePrefix.default('__Secure-ocm').describe('How the names of our cookies begin'),
  })
}

const REDIS_URL = 'redis://host:6379/0, rediss://host:6379/0, redis+sentinel://host:26379,host:26379/master/0'

export const storeUrl = (fields: Fields) =>
  text(
    `sqlite:<file>, such as sqlite:./data/gateway.db, ${REDIS_URL}, or memory:`,
    /^(sqlite:.+|memory:|redis(s|\+sentinel)?:\/\/.+)$/,
  ).transform((url, context) => {
    if (url === 'memory:') return { kind: 'memory' as const }
    if (url.startsWith('sqlite:'))
      return { kind: 'sqlite' as const, file: fields.file.parse(url.slice('sqlite:'.length)) }
    const address = parseRedisUrl(url)
    if (address !== undefined) return { kind: 'redis' as const, ...address }
    context.addIssue(`must be ${REDIS_URL}; a user name and a password in it are percent-encoded`)
    return z.NEVER
  })

/**
 * The whole configuration. One schema makes the parser, the messages, the defaults and `config/schema.json`.
 * Durations come out in seconds, sizes in bytes, paths absolute, secrets wrapped in `Secret`.
 *
 * Does NOT compare settings with each other: cross-checks.ts does, also when some of them are wrong.
 */
export function gatewaySchema(kinds: readonly KindSchema[], sources: ConfigSources) {
  const fields = createFields(sources)
  const [first, ...rest] = kinds.map((kind) => webappSchema(kind, fields))
  if (first === undefined) throw new Error('no app kinds are registered')
  return z.strictObject({
    server: serverSchema(fields).describe('The gateway itself'),
    store: storeUrl(fields)
      .prefault('sqlite:./data/gateway.db')
      .describe(
        'What must outlive the process. sqlite:<file>; redis://, rediss:// or redis+sentinel:// for several processes; memory: forgets everything, for tests',
      ),
    storePasswordFile: fields.secretFile
      .optional()
      .describe('File with the password of Redis, and of its Sentinels; default: the one in the URL'),
    sessions: sessionsSchema(fields).prefault({}).describe('How long an opened share stays open'),
    audit: z
      .strictObject({
        pseudonyms: z
          .boolean()
          .default(false)
          .describe('Call people by pseudonyms in the log: the same person by the same one, their cloud in plain'),
      })
      .prefault({})
      .describe('What the log tells of people'),
    ocmServers: z.array(pairingSchema(fields)).min(1).describe('The pairings: OCM servers whose shares we serve'),
    webapps: z
      .array(z.discriminatedUnion('kind', [first, ...rest]))
      .min(1)
      .describe('The apps that shares open'),
  })
}

function webappSchema({ kind, options }: KindSchema, fields: Fields) {
  return z
    .strictObject({
      ...webappFields(fields),
      kind: z.literal(kind).describe('What sort of app it is'),
      [kind]: options(fields).prefault({}).describe(`Options of kind ${kind}`),
    })
    .transform((webapp: Record<string, unknown>) => {
      const { [kind]: own, ...common } = webapp
      return { ...common, options: own } as Webapp
    })
}

/** A webapp whose kind is not one of ours: all but what stands under `unchecked` keys, where kinds have their options. */
export function strayWebappSchema(unchecked: readonly string[], fields: Fields) {
  const anything = Object.fromEntries(['kind', ...unchecked].map((key) => [key, z.unknown().optional()]))
  return z.strictObject({ ...anything, ...webappFields(fields) })
}

export type Permission = z.infer<typeof PERMISSION>
export type Mode = z.infer<typeof MODE>
export type ServerConfig = z.infer<ReturnType<typeof serverSchema>>
export type PairingConfig = z.infer<ReturnType<typeof pairingSchema>>
export type SessionsConfig = z.infer<ReturnType<typeof sessionsSchema>>
type WebappCommon = z.infer<z.ZodObject<ReturnType<typeof webappFields>>>
/** One entry of `webapps`; `options` is what stood under the kind’s name, parsed by the kind’s own schema. */
export type Webapp<Options = unknown> = WebappCommon & { readonly kind: string; readonly options: Options }
export type GatewayConfig = z.infer<ReturnType<typeof gatewaySchema>>
