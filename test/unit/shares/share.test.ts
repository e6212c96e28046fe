import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseWithoutSecrets, readClaim, readProvisioning, readShareId } from '../../../src/shares/share.ts'
import { provisioning, shareOf } from '../fixtures.ts'

const WEBAPP = { uri: 'https://apps.example.org/notes/.ocm/open', permissions: ['view', 'read'] }
const withWebapp = (change: Record<string, unknown>) =>
  provisioning({ protocol: { name: 'multi', webapp: { ...WEBAPP, ...change } } })
const read = (body: unknown) => {
  const result = readProvisioning(body)
  if (Array.isArray(result)) throw new Error(result.join('; '))
  return result
}
const problems = (body: unknown) => {
  const result = readProvisioning(body)
  return Array.isArray(result) ? result.join('; ') : ''
}

describe('a provisioning body', () => {
  it.each([
    ['name: multi', { name: 'multi', webapp: WEBAPP, webdav: { uri: 'https://cloud/dav' } }, 'https://cloud/dav'],
    ['name: multi with options', { name: 'multi', options: {}, webapp: WEBAPP }, undefined],
    ['name: webapp', { name: 'webapp', webapp: WEBAPP }, undefined],
    ['name: webapp with the deprecated options', { name: 'webapp', options: WEBAPP }, undefined],
    ['no name', { webapp: WEBAPP }, undefined],
    ['a webdav entry that is not one', { name: 'multi', webapp: WEBAPP, webdav: 'x' }, undefined],
  ])('with protocol %s', (_shape, protocol, webdav) => {
    const { share } = read(provisioning({ protocol }))
    expect(share.webapp).toEqual({
      uri: WEBAPP.uri,
      permissions: ['view', 'read'],
      targets: undefined,
      requirements: [],
      appName: undefined,
      mediaTypes: [],
    })
    expect(share.webdav).toEqual(webdav && { uri: webdav })
  })

  it.each([
    ['no object', 'text'],
    ['null', null],
    ['a list', []],
    ['no protocol', provisioning({ protocol: undefined })],
    ['a protocol without webapp', provisioning({ protocol: { name: 'multi', webdav: { uri: 'https://cloud' } } })],
    ['options under another name', provisioning({ protocol: { name: 'multi', options: WEBAPP } })],
    ['a webapp that is null', provisioning({ protocol: { name: 'multi', webapp: null } })],
    ...['sender', 'owner', 'shareWith', 'providerId', 'shareType', 'resourceType'].flatMap((field) => [
      [`no ${field}`, provisioning({ [field]: undefined })],
      [`${field} null`, provisioning({ [field]: null })],
      [`an empty ${field}`, provisioning({ [field]: '' })],
      [`${field} as an object`, provisioning({ [field]: {} })],
      [`an endless ${field}`, provisioning({ [field]: `${'x'.repeat(5000)}@cloud.example` })],
    ]),
    ...['sender', 'owner', 'shareWith'].map((field) => [`${field} without host`, provisioning({ [field]: 'alice' })]),
    ['providerId as a fraction', provisioning({ providerId: 42.5 })],
    ['providerId as true', provisioning({ providerId: true })],
    ['providerId as a list', provisioning({ providerId: ['42'] })],
    ['providerId beyond exact integers', provisioning({ providerId: 2 ** 53 })],
    ['expiration as text', provisioning({ expiration: 'tomorrow' })],
    ['expiration before the epoch', provisioning({ expiration: -1 })],
    ['permissions as text', withWebapp({ permissions: 'write' })],
    ['clientId as a fraction', withWebapp({ clientId: 1.5 })],
  ] as [string, unknown][])('is refused, with the reason: %s', (_what, body) => {
    expect(problems(body)).not.toBe('')
  })

  it('tells every field that is wrong, by its name', () => {
    const text = problems(provisioning({ sender: 'alice', shareWith: undefined, protocol: { name: 'multi' } }))
    expect(text).toContain('sender: is not an OCM address (id@host)')
    expect(text).toContain('shareWith:')
    expect(text).toContain('protocol.webapp: is missing')
  })

  it('keeps what is known and drops the rest', () => {
    const { share } = read({
      ...provisioning({ ownerDisplayName: 'Alice', expiration: 1_800_000_000 }),
      senderDisplayName: 'A',
      description: null,
      admin: true,
    })
    expect(share).toEqual({
      ...shareOf(),
      ownerDisplayName: 'Alice',
      expiration: 1_800_000_000,
    })
    expect(Object.keys(share).toSorted()).toEqual(
      [
        ...['expiration', 'name', 'owner', 'ownerDisplayName', 'providerId', 'resourceType', 'sender', 'shareType'],
        ...['shareWith', 'webapp', 'webdav'],
      ].toSorted(),
    )
  })

  it.each([
    [undefined, ''],
    [7, ''],
    ['x'.repeat(2000), 'x'.repeat(1000)],
    ['na\u00efve \u{1f4d3}.ipynb', 'na\u00efve \u{1f4d3}.ipynb'],
  ])('a name %# is kept within bounds', (name, kept) => {
    expect(read(provisioning({ name })).share.name).toBe(kept)
  })

  it.each([
    ['42', undefined, '42'],
    [42, undefined, '42'],
    ['042', undefined, '042'],
    [' 42', undefined, ' 42'],
    ['42', 'token-7', 'token-7'],
    ['42', 7, '7'],
    ['42', null, '42'],
  ])('providerId %j and clientId %j: the share is %j', (providerId, clientId, shareId) => {
    const body = provisioning({ providerId, protocol: { name: 'multi', webapp: { ...WEBAPP, clientId } } })
    expect(read(body).shareId).toBe(shareId)
    expect(read(body).share.providerId).toBe(String(providerId))
  })

  it.each([
    [{ permissions: ['write', 'view'] }, ['view', 'write']],
    [{ permissions: [] }, []],
    [{ permissions: ['admin', 7, null] }, []],
    [{ permissions: ['Write'] }, []],
    [{ permissions: null }, ['view']],
    [{ permissions: undefined }, ['view']],
    [{ permissions: undefined, viewMode: 'read' }, ['read']],
    [{ permissions: undefined, viewMode: 'write' }, ['write']],
    [{ permissions: undefined, viewMode: 'preview' }, []],
    [{ permissions: undefined, viewMode: ['write'] }, []],
    [{ permissions: ['view'], viewMode: 'write' }, ['view']],
  ])('%j grants %j', (change, permissions) => {
    expect(read(withWebapp(change)).share.webapp.permissions).toEqual(permissions)
  })

  it.each([
    [undefined, undefined],
    [null, undefined],
    [[], []],
    [['iframe'], ['iframe']],
    [['blank'], ['blank']],
    [['redirect'], ['blank']],
    [
      ['blank', 'iframe'],
      ['iframe', 'blank'],
    ],
    [['popup', 7], []],
  ])('targets %j are %j', (targets, expected) => {
    expect(read(withWebapp({ targets })).share.webapp.targets).toEqual(expected)
  })

  it('the app’s name and media types are read under their older names too', () => {
    const older = withWebapp({
      name: 'Jupyter',
      mimeType: 'application/vnd.jupyter',
      mediaType: 'application/vnd.jupyter',
    })
    expect(read(older).share.webapp).toMatchObject({ appName: 'Jupyter', mediaTypes: ['application/vnd.jupyter'] })
    const newer = withWebapp({
      name: 'old',
      appName: 'Jupyter',
      mediaTypes: ['a/b', 7, 'c/d'],
      requirements: ['must-use-mfa', {}],
    })
    expect(read(newer).share.webapp).toMatchObject({
      appName: 'Jupyter',
      mediaTypes: ['a/b', 'c/d'],
      requirements: ['must-use-mfa'],
    })
  })
})

describe('the share’s id in a revocation', () => {
  it.each([
    [{ providerId: '42' }, '42'],
    [{ providerId: 42 }, '42'],
    [{ clientId: 'token-7' }, 'token-7'],
    [{ clientId: 'token-7', providerId: '42' }, 'token-7'],
    [{ providerId: '42', protocol: { webapp: { clientId: 'token-7' } } }, 'token-7'],
    [{ providerId: '42', protocol: { webapp: {} } }, '42'],
    [{ clientId: null, providerId: '42' }, '42'],
    [{}, undefined],
    [{ providerId: '' }, undefined],
    [{ providerId: 4.2 }, undefined],
    [{ providerId: ['42'] }, undefined],
    [{ providerId: null, clientId: false }, undefined],
  ])('of %j is %j', (body, shareId) => {
    expect(readShareId(body)).toBe(shareId)
  })
})

describe('an ocm_ip claim', () => {
  const people = { owner: 'alice@cloud.example', recipient: 'bob@bob.example' }
  const CLAIM = { providerId: '42', resourceType: 'file', protocol: { name: 'multi', webapp: WEBAPP } }

  it('is a share between the token’s own people', () => {
    const claim = { ...CLAIM, owner: 'mallory@evil.example', shareWith: 'eve@evil.example', sender: 'x', name: 'a.md' }
    expect(readClaim(claim, people)).toMatchObject({
      shareId: '42',
      share: {
        owner: people.owner,
        sender: people.owner,
        shareWith: people.recipient,
        name: 'a.md',
      },
    })
  })

  it.each([
    undefined,
    null,
    'x',
    [],
    {},
    { ...CLAIM, providerId: undefined },
    { ...CLAIM, resourceType: '' },
    { ...CLAIM, protocol: {} },
  ])('%j is not complete', (claim) => {
    expect(readClaim(claim, people)).toEqual(expect.arrayContaining([expect.any(String)]))
  })
})

describe('JSON of a peer', () => {
  it.each([
    ['{"sharedSecret":"s"}', {}],
    ['{"a":[{"b":{"sharedSecret":"s","c":1}}]}', { a: [{ b: { c: 1 } }] }],
    ['{"sharedSecret":{"deep":["s"]},"d":2}', { d: 2 }],
    ['{"sharedSecret":"s","sharedSecret":"t"}', {}],
    ['{"shared\\u0053ecret":"s"}', {}],
    ['{"sharedsecret":"kept"}', { sharedsecret: 'kept' }],
    ['{"__proto__":{"admin":true},"a":1}', { a: 1 }],
    ['{"a":{"__proto__":{"admin":true}}}', { a: {} }],
    ['{"a":1,"a":2}', { a: 2 }],
    ['[null,1,"x"]', [null, 1, 'x']],
  ])('%s', (json, value) => {
    const parsed = parseWithoutSecrets(json)
    expect(parsed).toEqual(value)
    expect((parsed as { admin?: boolean }).admin).toBeUndefined()
  })

  it.each(['', '{', '{"a":}', 'undefined', '['.repeat(100_000)])('%# is not JSON, or beyond all reason', (json) => {
    expect(() => parseWithoutSecrets(json)).toThrow()
  })

  it('holds no secret after it was read, wherever it stood', () => {
    const tree = fc.letrec((tie) => ({
      node: fc.oneof(
        { depthSize: 'medium' },
        fc.oneof(fc.string(), fc.integer(), fc.constant(null)),
        fc.array(tie('node'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom('sharedSecret', 'webapp', 'webdav', '__proto__'), tie('node'), { maxKeys: 3 }),
      ),
    })).node
    const property = fc.property(tree, (value) => {
      expect(JSON.stringify(parseWithoutSecrets(JSON.stringify(value) ?? 'null'))).not.toMatch(
        /"(sharedSecret|__proto__)":/,
      )
    })
    fc.assert(property, { numRuns: 500 })
  })

  it('of a whole provisioning loses its secrets and nothing else', () => {
    const secret = { sharedSecret: 'hunter2' }
    const body = provisioning({
      ...secret,
      protocol: {
        ...secret,
        name: 'multi',
        webapp: { ...WEBAPP, ...secret },
        webdav: { uri: 'https://cloud/dav', ...secret },
      },
    })
    const parsed = parseWithoutSecrets(JSON.stringify(body))
    expect(JSON.stringify(parsed)).not.toContain('hunter2')
    expect(JSON.stringify(read(parsed))).not.toContain('hunter2')
    expect(read(parsed).share.webdav).toEqual({ uri: 'https://cloud/dav' })
    expect(JSON.stringify(read(body))).not.toContain('hunter2')
  })
})
