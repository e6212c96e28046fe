// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these variables are the configuration's
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { loadConfig } from '../../../src/config/load.ts'
import type { Webapp } from '../../../src/config/schema.ts'
import { Secret } from '../../../src/core/secret.ts'
import { configOf, folderWith, kinds, load, minimal, problemsOf } from './support.ts'

describe('a file that says only what it must', () => {
  it('gets every default of the contract', () => {
    const { server, ...config } = configOf(minimal())
    const { trustedProxies, signingKeyFile, ...rest } = server
    expect(rest).toEqual({
      publicUrl: 'https://apps.example.org',
      listen: { host: '0.0.0.0', port: 8080 },
      adminListen: { host: '127.0.0.1', port: 9090 },
      integrationApi: '/ocm',
      furtherSigningKeyFiles: [],
      watchFiles: true,
      drainDelay: 0,
      drainTimeout: 10,
      workers: 1,
      insecureLoopback: false,
      limits: {
        form: 65_536,
        json: 262_144,
        failuresPerMinute: 1200,
        connectionsPerAddress: 2000,
        requestTimeout: 30,
      },
    })
    expect(signingKeyFile).toMatch(/\/data\/signing-key\.json$/)
    expect(trustedProxies.rules).toEqual([])
    expect(config).toEqual({
      store: { kind: 'sqlite', file: expect.stringMatching(/\/data\/gateway\.db$/) },
      sessions: { maxAge: 28_800, idleTimeout: 3600, boundTo: 'share', cookiePrefix: '__Secure-ocm' },
      audit: { pseudonyms: false },
      ocmServers: [
        {
          domain: 'cloud.example.org',
          modes: ['provisioned'],
          permissions: ['view', 'read', 'write', 'share'],
          receiverOrigins: [],
          tolerate: [],
          limits: { shares: 100_000, sessions: 10_000, requestsPerMinute: 600, introspectionsPerMinute: 600 },
        },
      ],
      webapps: [
        {
          name: 'board',
          kind: 'generic',
          publicUrl: 'https://board.example.org/',
          upstream: 'http://board:3000/',
          launchAliases: [],
          headers: {},
          timeouts: { connect: 5, response: 120, idle: 600 },
          options: { landing: '', stripPath: false, isolation: 'none' },
        },
      ],
    })
  })

  it('has nothing to be warned about', () => {
    expect(load(minimal())).toMatchObject({ warnings: [] })
  })
})

describe('what comes out', () => {
  it.each([
    { written: '250ms', seconds: 0.25 },
    { written: '300s', seconds: 300 },
    { written: '10m', seconds: 600 },
    { written: '8h', seconds: 28_800 },
    { written: '2d', seconds: 172_800 },
  ])('of the duration $written is $seconds seconds', ({ written, seconds }) => {
    expect(configOf(minimal({ sessions: { maxAge: written } })).sessions.maxAge).toBe(seconds)
  })

  it.each([
    { written: '1000B', bytes: 1000 },
    { written: '64KiB', bytes: 65_536 },
    { written: '2MiB', bytes: 2_097_152 },
    { written: '1GiB', bytes: 1_073_741_824 },
  ])('of the size $written is $bytes bytes', ({ written, bytes }) => {
    expect(configOf(minimal({ server: { limits: { form: written } } })).server.limits.form).toBe(bytes)
  })

  it.each([
    { written: '[::]:8080', listen: { host: '::', port: 8080 } },
    { written: '127.0.0.1:0', listen: { host: '127.0.0.1', port: 0 } },
    { written: 'localhost:65535', listen: { host: 'localhost', port: 65_535 } },
  ])('of the address $written is host and port', ({ written, listen }) => {
    expect(configOf(minimal({ server: { listen: written } })).server.listen).toEqual(listen)
  })

  it.each([
    { written: 'memory:', store: { kind: 'memory' } },
    { written: 'sqlite:/var/lib/gateway.db', store: { kind: 'sqlite', file: '/var/lib/gateway.db' } },
  ])('of the store $written is its kind and place', ({ written, store }) => {
    expect(configOf(minimal({ store: written })).store).toEqual(store)
  })

  it('of a domain is its canonical form', () => {
    expect(configOf(minimal({ pairing: { domain: 'Cloud.Example.ORG:443' } })).ocmServers[0]?.domain).toBe(
      'cloud.example.org',
    )
  })

  it('of trusted proxies is a list that knows ranges and single addresses', () => {
    const { trustedProxies } = configOf(minimal({ server: { trustedProxies: ['10.0.0.0/8', '::1'] } })).server
    expect(['10.1.2.3', '11.1.2.3'].map((address) => trustedProxies.check(address))).toEqual([true, false])
    expect(trustedProxies.check('::1', 'ipv6')).toBe(true)
  })

  it('of a webapp is the options of its kind under `options`', () => {
    const webapp = { kind: 'hub', hub: { maxFileSize: '1KiB' } }
    expect(configOf(minimal({ webapp })).webapps[0]).toMatchObject({
      kind: 'hub',
      options: { maxFileSize: 1024, stopWhenIdle: 3600 },
    })
  })
})

describe('files that the configuration names', () => {
  const tokenIn = (file: string) => ({ webapp: { kind: 'hub', hub: { apiTokenFile: file } } })

  it.each([
    { content: 's3cret', secret: 's3cret' },
    { content: 's3cret\n', secret: 's3cret' },
    { content: 's3cret\r\n', secret: 's3cret' },
    { content: 's3cret\n\n', secret: 's3cret\n' },
    { content: '  s3cret ', secret: '  s3cret ' },
  ])('a secret file with $content holds $secret: one trailing newline is not part of it', ({ content, secret }) => {
    const { webapps } = configOf(minimal(tokenIn('secrets/token')), { files: { 'secrets/token': content } })
    const { apiTokenFile } = (webapps[0] as Webapp<{ apiTokenFile: Secret }>).options
    expect(apiTokenFile).toBeInstanceOf(Secret)
    expect(apiTokenFile.reveal()).toBe(secret)
  })

  it('are found relative to the file, not to the working directory', () => {
    const folder = folderWith({ 'gateway.yaml': stringify(minimal({ server: { signingKeyFile: '../key.json' } })) })
    expect(loadConfig(join(folder, 'gateway.yaml'), { kinds, env: {} })).toMatchObject({
      config: {
        server: { signingKeyFile: join(folder, '../key.json') },
        store: { file: join(folder, 'data/gateway.db') },
      },
    })
  })

  it('a configuration that is missing is reported too', () => {
    expect(loadConfig('/nowhere/gateway.yaml', { kinds, env: {} })).toEqual({
      problems: [
        {
          path: '(file)',
          message: 'cannot be read: there is no file /nowhere/gateway.yaml (create it, or correct the path)',
        },
      ],
    })
  })

  it('a secret file that is missing, empty or a folder is reported with what to do', () => {
    expect(problemsOf(minimal(tokenIn('/nowhere/token')))).toEqual([
      'webapps[0].hub.apiTokenFile: cannot be read: there is no file /nowhere/token (create it, or correct the path)',
    ])
    expect(problemsOf(minimal(tokenIn('token')), { files: { token: '\n' } })).toEqual([
      expect.stringMatching(
        /^webapps\[0\]\.hub\.apiTokenFile: cannot be read: \/.*\/token is empty \(must hold the secret\)$/,
      ),
    ])
    expect(problemsOf(minimal(tokenIn('.')))).toEqual([expect.stringMatching(/ is a folder \(must be a file\)$/)])
  })

  it('the files of server.tls must be there', () => {
    const tls = { certFile: 'cert.pem', keyFile: '/nowhere/key.pem' }
    expect(problemsOf(minimal({ server: { tls } }), { files: { 'cert.pem': 'a certificate' } })).toEqual([
      'server.tls.keyFile: cannot be read: there is no file /nowhere/key.pem (create it, or correct the path)',
    ])
  })

  it.skipIf(process.getuid?.() === 0)('a file that may not be read is reported', () => {
    const folder = folderWith({ 'gateway.yaml': '' })
    chmodSync(join(folder, 'gateway.yaml'), 0o000)
    expect(loadConfig(join(folder, 'gateway.yaml'), { kinds, env: {} })).toMatchObject({
      problems: [{ path: '(file)', message: expect.stringContaining('is closed to the user') }],
    })
  })

  it('the configuration itself may be a folder or lie below a file, and that is reported too', () => {
    const folder = folderWith({ file: '' })
    mkdirSync(join(folder, 'gateway.yaml'))
    const messages = ['gateway.yaml', 'file/gateway.yaml'].map((name) =>
      loadConfig(join(folder, name), { kinds, env: {} }),
    )
    expect(messages).toMatchObject([
      { problems: [{ path: '(file)', message: expect.stringMatching(/is a folder/) }] },
      { problems: [{ path: '(file)', message: expect.stringMatching(/there is no file/) }] },
    ])
  })
})

describe('text that is no such document', () => {
  it.each([
    { text: 'server:\n\t- x', says: 'line 2, column 1: is not valid YAML: Tabs are not allowed as indentation' },
    { text: 'a: {b: ${C}}', says: /^line 1, column \d+: is not valid YAML: nothing more may stand here \(put quotes / },
    { text: 'a: 1\n---\nb: 2', says: 'line 2, column 1: a second document begins (must be one document only)' },
    { text: 'a: *b', says: 'cannot be read: Unresolved alias (the anchor must be set before the alias): b' },
    { text: '', says: 'is empty (must be a section with keys such as server, store, storePasswordFile)' },
    { text: '- a', says: 'is a list (must be a section with keys such as server, store, storePasswordFile)' },
    { text: '['.repeat(20_000), says: /^(cannot be read|line 1)/ },
  ])('$text is refused with the reason', ({ text, says }) => {
    const problems = problemsOf(text)
    expect(problems).toEqual([typeof says === 'string' ? `(file): ${says}` : expect.stringMatching(/^\(file\): /)])
    expect(problems[0]?.slice('(file): '.length)).toMatch(says)
  })

  it('a broken structure is reported once, at its first place', () => {
    expect(problemsOf('a: [1, 2\nb: ]\nc: {')).toHaveLength(1)
  })

  it('a key that stands twice does not hide the other mistakes', () => {
    const problems = problemsOf(
      'server:\n  publicUrl: https://a.example\n  publicUrl: https://b.example\nocmServers: []\n',
    )
    expect(problems).toEqual([
      '(file): line 3, column 3: the key publicUrl stands twice in one section (keep one of the two)',
      'ocmServers: is an empty list (must have at least 1 entry)',
      'webapps: is missing (must be a list)',
    ])
  })

  it('a tag that would do nothing is an error', () => {
    expect(problemsOf('server: !secret x\n')[0]).toBe(
      '(file): line 1, column 9: is not valid YAML: Unresolved tag: !secret',
    )
  })
})

describe('a value that contains itself', () => {
  it('is refused once for every place', () => {
    expect(problemsOf('server: &a [*a, *a]')).toEqual(
      expect.arrayContaining([
        'server[0]: contains itself through a YAML alias (write the value out)',
        'server[1]: contains itself through a YAML alias (write the value out)',
      ]),
    )
  })
})
