// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these variables are the configuration's
import { describe, expect, it } from 'vitest'
import { load, minimal, problemsOf } from './support.ts'

it('ten different mistakes in one file are ten problems, reported at once', () => {
  const problems = problemsOf(
    `
server:
  publicURL: https://apps.example.org
  listen: 8080
sessions:
  maxAge: 8 hours
  cookiePrefix: __Host-ocm
ocmServers:
  - domain: https://cloud.example.org/
    modes: [provisoned]
  - domain: files.example.net
  - domain: Files.example.net:443
webapps:
  - name: board
    kind: generik
    publicUrl: https://one.example.org/board/
    upstream: http://board:3000/
    generic: { stripPath: true }
  - name: hub
    kind: hub
    publicUrl: https://two.example.org/hub/
    upstream: http://hub:8000/
    hub:
      apiTokenFile: \${HUB_TOKEN_FILE}
`,
  )
  expect(problems).toEqual([
    'ocmServers[0].domain: is "https://cloud.example.org/" (must be a host name, with a port if it has one, such as cloud.example.org, without scheme or path)',
    'ocmServers[0].modes[0]: is "provisoned" (must be provisioned, self-contained or introspected; did you mean provisioned?)',
    'ocmServers[2].domain: is paired already as ocmServers[1] (merge the two entries)',
    'server.listen: is 8080 (must be host:port such as 0.0.0.0:8080 or [::]:8080)',
    'server.publicURL: unknown key `publicURL` (did you mean `publicUrl`?)',
    'sessions.cookiePrefix: is "__Host-ocm" (must not be __Host-: browsers refuse such a cookie unless its Path is /, and ours has the path of one share; write __Secure-ocm)',
    'sessions.maxAge: is "8 hours" (must be a duration such as 300s, 10m or 8h)',
    'webapps[0].kind: is "generik" (must be generic or hub; did you mean generic?)',
    'webapps[1].hub.apiTokenFile: needs the environment variable HUB_TOKEN_FILE, which is not set (set it, or write ${HUB_TOKEN_FILE:-default})',
    'webapps[1].upstream: has the path / where publicUrl has /hub/ (write http://hub:8000/hub/, or use kind generic with stripPath: true)',
  ])
})

const HTTPS_URL = 'must be an https:// URL such as https://apps.example.org/, without user name, query or #'

describe('a value of its own', () => {
  it.each([
    ['server', { publicUrl: undefined }, `publicUrl: is missing (${HTTPS_URL})`],
    ['server', { publicUrl: null }, `publicUrl: is empty (${HTTPS_URL})`],
    ['server', { publicUrl: '' }, `publicUrl: is empty (${HTTPS_URL})`],
    ['server', { publicUrl: 42 }, `publicUrl: is 42 (${HTTPS_URL})`],
    ['server', { publicUrl: 'apps.example.org' }, `publicUrl: is "apps.example.org" (${HTTPS_URL})`],
    ['server', { publicUrl: 'https://*.example.org' }, `publicUrl: is "https://*.example.org" (${HTTPS_URL})`],
    ['server', { publicUrl: 'https://a:b@example.org' }, `publicUrl: is "https://…@example.org" (${HTTPS_URL})`],
    [
      'server',
      { publicUrl: 'https://apps.example.org?x' },
      `publicUrl: is "https://apps.example.org?x" (${HTTPS_URL})`,
    ],
    [
      'server',
      { publicUrl: 'https://apps.example.org/gateway/' },
      'publicUrl: is "https://apps.example.org/gateway/" (must have no path, like https://apps.example.org; the path of the Integration API is server.integrationApi)',
    ],
    ['server', { listen: 'localhost' }, 'listen: is "localhost" (must be host:port such as 0.0.0.0:8080 or [::]:8080)'],
    ['server', { listen: 'localhost:99999' }, 'listen: is "localhost:99999" (must have a port from 0 to 65535)'],
    ['server', { trustedProxies: '10.0.0.0/8' }, 'trustedProxies: is "10.0.0.0/8" (must be a list)'],
    [
      'server',
      { trustedProxies: ['::1', '10.0.0.0/33'] },
      'trustedProxies[1]: is "10.0.0.0/33" (must be an address or a range such as 10.0.0.0/8)',
    ],
    [
      'server',
      { integrationApi: '/a/../b' },
      'integrationApi: is "/a/../b" (must be a path such as /ocm, without a slash at the end and without .ocm in it)',
    ],
    [
      'server',
      { insecureLoopback: 'yes' },
      'insecureLoopback: is "yes" (must be true or false, written without quotes or a variable)',
    ],
    ['server', { insecureLoopback: 1 }, 'insecureLoopback: is 1 (must be true or false)'],
    [
      'server',
      { limits: null },
      'limits: is empty (must be a section with keys such as form, json, failuresPerMinute)',
    ],
    ['server', { limits: { form: '64kb' } }, 'limits.form: is "64kb" (must be a size such as 64KiB, 512MiB or 1GiB)'],
    ['server', { limits: { failuresPerMinute: 0 } }, 'limits.failuresPerMinute: is 0 (must be more than 0)'],
    ['server', { limits: { failuresPerMinute: 1.5 } }, 'limits.failuresPerMinute: is 1.5 (must be a whole number)'],
    ['server', { limits: { requestTimeout: '0s' } }, 'limits.requestTimeout: is "0s" (must be longer than 0s)'],
    ['sessions', { boundTo: 'tokens' }, 'boundTo: is "tokens" (must be share or token; did you mean token?)'],
    ['sessions', { boundTo: ['share'] }, 'boundTo: is a list (must be share or token)'],
    ['sessions', { cookiePrefix: 'a b' }, 'cookiePrefix: is "a b" (must be 1 to 40 letters, digits, _ or -)'],
  ])('in %s %j', (section, values, expected) => {
    expect(problemsOf(minimal({ [section]: values }))).toEqual([`${section}.${expected}`])
  })

  it.each([
    [{ modes: [] }, 'modes: is an empty list (must have at least 1 entry)'],
    [{ permissions: ['execute'] }, 'permissions[0]: is "execute" (must be view, read, write or share)'],
    [
      { keysUrl: 'ftp://cloud.example.org/' },
      'keysUrl: is "ftp://cloud.example.org/" (must be an http:// or https:// URL such as http://app:8000/, without user name or #)',
    ],
    [
      { receiverOrigins: ['https://portal.example.org/'] },
      'receiverOrigins[0]: is "https://portal.example.org/" (must be an origin such as https://portal.example.org, without path or slash at the end)',
    ],
    [
      { tolerate: ['untyped-token'] },
      'tolerate[0]: is "untyped-token" (must be untagged-signatures or untyped-tokens; did you mean untyped-tokens?)',
    ],
    [{ mode: ['provisioned'] }, 'mode: unknown key `mode` (did you mean `modes`?)'],
    [
      { anything: 1 },
      'anything: unknown key `anything` (known here: domain, modes, keysUrl, introspection, permissions, receiverOrigins, sharedKeyFile, tolerate, limits)',
    ],
  ])('in a pairing %j', (pairing, expected) => {
    expect(problemsOf(minimal({ pairing }))).toEqual([`ocmServers[0].${expected}`])
  })

  it.each([
    [
      { name: 'My Board' },
      'name: is "My Board" (must be 1 to 40 lower-case letters, digits and inner hyphens such as notebooks)',
    ],
    [{ kind: undefined }, 'kind: is missing (must be generic or hub)'],
    [{ publicUrl: 'https://a.example.org/b' }, 'publicUrl: is "https://a.example.org/b" (must end with /)'],
    [
      { publicUrl: 'https://a.example.org/.ocm/' },
      'publicUrl: is "https://a.example.org/.ocm/" (must have a path of letters, digits and . _ ~ - only, without .ocm in it)',
    ],
    [
      { publicUrl: 'https://a.example.org/a/../b/' },
      'publicUrl: is "https://a.example.org/a/../b/" (must have a path of letters, digits and . _ ~ - only, without .ocm in it)',
    ],
    [{ upstream: 'http://board:3000/?a' }, 'upstream: is "http://board:3000/?a" (must end with / and have no query)'],
    [
      { match: { extensions: ['ipynb'] } },
      'match.extensions[0]: is "ipynb" (must be a file extension with its dot such as .ipynb)',
    ],
    [
      { headers: { remote_user: 'x' } },
      'headers.remote_user: cannot be used as a name here (must be a header name without spaces, dots or underscores)',
    ],
    [
      { headers: { 'X-OCM-User': 'x' } },
      'headers.X-OCM-User: cannot be used as a name here (must not be a header that the gateway sets itself)',
    ],
    [
      { headers: { 'Remote-User': '{usr}' } },
      'headers.Remote-User: has the unknown placeholder {usr} (did you mean {user}?)',
    ],
    [
      { headers: { Authorization: 'Bearer secret\n' } },
      'headers.Authorization: has a line break or a letter outside ASCII (must be one line of plain ASCII)',
    ],
    [
      { headers: { 'X-Long': 'x'.repeat(1001) } },
      `headers.X-Long: is "${'x'.repeat(80)}…" (must have at most 1000 characters)`,
    ],
    [{ timeouts: { connect: '5' } }, 'timeouts.connect: is "5" (must be a duration such as 300s, 10m or 8h)'],
    [{ generic: { stripPaths: true } }, 'generic.stripPaths: unknown key `stripPaths` (did you mean `stripPath`?)'],
    [{ generic: { isolation: {} } }, 'generic.isolation: is a section with keys of its own (must be none or path)'],
    [{ generic: true }, 'generic: is true (must be a section with keys such as landing, stripPath, isolation)'],
  ])('in a webapp %j', (webapp, expected) => {
    expect(problemsOf(minimal({ webapp }))).toEqual([`webapps[0].${expected}`])
  })

  it('of the wrong store is named with the right ones, its password left out', () => {
    expect(problemsOf(minimal({ store: 'mysql://gateway:pw@db/0' }))).toEqual([
      'store: is "mysql://…@db/0" (must be sqlite:<file>, such as sqlite:./data/gateway.db, redis://host:6379/0, rediss://host:6379/0, redis+sentinel://host:26379,host:26379/master/0, or memory:)',
    ])
  })
})

describe('an unknown key', () => {
  it('is one problem each, at its own path', () => {
    expect(problemsOf(minimal({ server: { Listen: 'a:1', adminlisten: 'b:2' }, store_: 'memory:' }))).toEqual([
      'server.adminlisten: unknown key `adminlisten` (did you mean `adminListen`?)',
      'server.Listen: unknown key `Listen` (did you mean `listen`?)',
      'store_: unknown key `store_` (did you mean `store`?)',
    ])
  })

  it('stays on one line, whatever it is called', () => {
    expect(problemsOf(minimal({ 'a\nb': 'x' }))).toEqual([
      '["a\\nb"]: unknown key "a\\nb" (known here: server, store, storePasswordFile, sessions, audit, ocmServers, webapps)',
    ])
  })

  it('named __proto__ is one too', () => {
    expect(problemsOf(JSON.parse('{"server":{"publicUrl":"https://a.example","__proto__":1}}'))).toContain(
      'server.__proto__: unknown key `__proto__` (known here: publicUrl, listen, adminListen, trustedProxies, integrationApi, signingKeyFile, furtherSigningKeyFiles, watchFiles, drainDelay, drainTimeout, workers, insecureLoopback, tls, limits)',
    )
  })
})

describe('two settings that do not fit', () => {
  const at = (publicUrl: string, more: object = {}) => ({
    kind: 'generic',
    publicUrl,
    upstream: 'http://app:3000/',
    generic: { stripPath: true },
    ...more,
  })
  const apps = (...webapps: object[]) =>
    problemsOf({ ...minimal(), webapps: webapps.map((webapp, index) => ({ name: `app${index}`, ...webapp })) })

  it.each(['https://a.example.org/', 'https://A.example.org:443/x/', 'https://a.example.org/x/y/'])(
    'two webapps at https://a.example.org/x/ and %s overlap',
    (other) => {
      expect(apps(at('https://a.example.org/x/'), at(other))).toEqual([
        'webapps[1].publicUrl: overlaps with webapps[0].publicUrl (must be a path that nothing else answers)',
      ])
    },
  )

  it.each(['https://a.example.org/xy/', 'https://a.example.org:8443/x/', 'https://b.example.org/x/'])(
    'two webapps at https://a.example.org/x/ and %s do not',
    (other) => {
      expect(apps(at('https://a.example.org/x/'), at(other))).toEqual([])
    },
  )

  it.each([
    ['https://apps.example.org/ocm/', 'overlaps with server.integrationApi (/ocm)'],
    ['https://apps.example.org/ocm/app/', 'overlaps with server.integrationApi (/ocm)'],
    ['https://apps.example.org/.well-known/', 'overlaps with our public keys at /.well-known/jwks.json'],
  ])('a webapp at %s %s', (publicUrl, message) => {
    expect(apps(at(publicUrl))).toEqual([`webapps[0].publicUrl: ${message} (must be a path that nothing else answers)`])
  })

  it('two webapps of a kind that manages its whole upstream must not share one', () => {
    const hub = (host: string, upstream: string) =>
      at(`https://${host}/`, { kind: 'hub', upstream, generic: undefined })
    expect(apps(hub('a.example.org', 'http://hub:8000/'), hub('b.example.org', 'http://hub:8000/'))).toEqual([
      'webapps[1].upstream: is the upstream of webapps[0] too (each needs one of its own, or make them one webapp)',
    ])
    expect(apps(hub('a.example.org', 'http://hub:8000/'), hub('b.example.org', 'http://hub-b:8000/'))).toEqual([])
  })

  it('a webapp may have the whole host of the Integration API', () => {
    expect(apps(at('https://apps.example.org/'))).toEqual([])
  })

  it.each([
    ['/b', 'overlaps with webapps[1].publicUrl'],
    ['/b/open', 'overlaps with webapps[1].publicUrl'],
    ['/a', 'overlaps with webapps[0].publicUrl'],
    ['/ocm', 'overlaps with server.integrationApi (/ocm)'],
    ['/ocm/shares', 'overlaps with server.integrationApi (/ocm)'],
    ['/second/open', 'overlaps with webapps[0].launchAliases[0]'],
  ])('a launch alias %s of one webapp %s', (alias, message) => {
    const launchAliases = ['/second', alias]
    expect(apps(at('https://apps.example.org/a/', { launchAliases }), at('https://apps.example.org/b/'))).toEqual([
      `webapps[0].launchAliases[1]: ${message} (must be a path that nothing else answers)`,
    ])
  })

  it('a launch alias of two webapps on one host opens one of them only', () => {
    const launchAliases = ['/services/ocm/open']
    expect(
      apps(at('https://a.example.org/a/', { launchAliases }), at('https://a.example.org/b/', { launchAliases })),
    ).toEqual([
      'webapps[1].launchAliases[0]: overlaps with webapps[0].launchAliases[0] (must be a path that nothing else answers)',
    ])
  })

  it.each(['/services/ocm/open', '/a/open'])('a launch alias %s beside or inside its own webapp is fine', (alias) => {
    expect(apps(at('https://a.example.org/a/', { launchAliases: [alias] }))).toEqual([])
  })

  it('a launch alias beside the operations of the Integration API is fine', () => {
    expect(apps(at('https://apps.example.org/a/', { launchAliases: ['/ocm/open'] }))).toEqual([])
  })

  it('overlapping webapps are one mistake, also when one of them has an alias', () => {
    expect(
      apps(at('https://a.example.org/'), at('https://a.example.org/b/', { launchAliases: ['/b/open'] })),
    ).toHaveLength(1)
  })

  it('a webapp can only name OCM servers that are paired', () => {
    const webapp = { ocmServers: ['Cloud.Example.org', 'cloud.exmple.org', 'elsewhere.example'] }
    expect(problemsOf(minimal({ webapp }))).toEqual([
      'webapps[0].ocmServers[1]: cloud.exmple.org is not among the domains of ocmServers (did you mean cloud.example.org?)',
      'webapps[0].ocmServers[2]: elsewhere.example is not among the domains of ocmServers (add it there first)',
    ])
  })

  it('a reference to a domain that is itself misspelt is no second mistake', () => {
    const document = minimal({
      pairing: { domain: 'https://cloud.example.org' },
      webapp: { ocmServers: ['cloud.example.org'] },
    })
    expect(problemsOf(document)).toHaveLength(1)
  })

  it('names of webapps differ', () => {
    expect(apps({ ...at('https://a.example/'), name: 'x' }, { ...at('https://b.example/'), name: 'x' })).toEqual([
      'webapps[1].name: is the name of webapps[0] too (every webapp needs a name of its own)',
    ])
  })

  it.each([
    ['http://board:3000/x/', 'http://board:3000/'],
    ['http://board:3000/', 'http://board:3000/x/'],
  ])('upstream %s has the path of publicUrl: write %s', (upstream, right) => {
    const publicUrl = new URL(new URL(right).pathname, 'https://board.example.org').href
    const problems = problemsOf(minimal({ webapp: { publicUrl, upstream } }))
    expect(problems).toEqual([
      `webapps[0].upstream: has the path ${new URL(upstream).pathname} where publicUrl has ${new URL(right).pathname} (write ${right}, or use kind generic with stripPath: true)`,
    ])
  })

  it.each([
    { workers: 0, says: 'is 0 (must be at least 1)' },
    { workers: 65, says: 'is 65 (must be at most 64)' },
    { workers: 1.5, says: 'is 1.5 (must be from 1 to 64, or auto)' },
    { workers: 'many', says: 'is "many" (must be from 1 to 64, or auto)' },
  ])('$workers workers are no number of processes', ({ workers, says }) => {
    expect(problemsOf(minimal({ server: { workers } }))).toEqual([`server.workers: ${says}`])
  })

  it.each([
    ['memory:', 1, []],
    ['memory:', 2, ['is 2']],
    ['memory:', 'auto', ['is auto']],
    ['sqlite:./gateway.db', 2, []],
    ['redis://127.0.0.1/0', 'auto', []],
  ])('the store %s with %s workers', (store, workers, problems) => {
    const rest = 'but no worker sees what memory: keeps in another (must be 1, or the store sqlite: or redis://)'
    const expected = problems.map((says) => `server.workers: ${says}, ${rest}`)
    expect(problemsOf(minimal({ store, server: { workers } }))).toEqual(expected)
  })

  it.each(['__Host-', '__Host', '__host-ocm'])('the cookie prefix %s is impossible', (cookiePrefix) => {
    expect(problemsOf(minimal({ sessions: { cookiePrefix } }))[0]).toMatch(/must not be __Host-: .*Path/)
  })

  it.each([
    ['0.0.0.0:8080', '127.0.0.1:8080', 1],
    ['127.0.0.1:8080', '127.0.0.1:8080', 1],
    ['127.0.0.1:8080', '127.0.0.2:8080', 0],
    ['0.0.0.0:0', '127.0.0.1:0', 0],
  ])('listening at %s and %s: %i problems', (listen, adminListen, count) => {
    const expected =
      'server.adminListen: takes the port of server.listen (must be another port: health and metrics are never public)'
    expect(problemsOf(minimal({ server: { listen, adminListen } }))).toEqual(Array(count).fill(expected))
  })
})

describe('http', () => {
  const everywhere = (host: string, insecureLoopback?: boolean) =>
    minimal({
      server: { publicUrl: `http://${host}`, insecureLoopback },
      pairing: { keysUrl: `http://${host}/keys`, receiverOrigins: [`http://${host}`] },
      webapp: { publicUrl: `http://${host}/` },
    })
  const places = [
    'ocmServers[0].keysUrl',
    'ocmServers[0].receiverOrigins[0]',
    'server.publicUrl',
    'webapps[0].publicUrl',
  ]

  it.each(['localhost', 'cloud.localhost:8443', '127.1.2.3', '[::1]:8080'])(
    'is fine for %s with insecureLoopback',
    (host) => {
      expect(problemsOf(everywhere(host, true))).toEqual([])
    },
  )

  it('is refused for loopback hosts without insecureLoopback', () => {
    const message = 'is http:// (must be https://; for demos and tests, set server.insecureLoopback: true)'
    expect(problemsOf(everywhere('localhost'))).toEqual(places.map((path) => `${path}: ${message}`))
  })

  it.each(['apps.example.org', 'localhost.example.org', '10.0.0.1'])(
    'is refused for %s with insecureLoopback too',
    (host) => {
      const message = `is http:// (must be https://, as ${host} is not this machine)`
      expect(problemsOf(everywhere(host, true))).toEqual(places.map((path) => `${path}: ${message}`))
    },
  )

  it('towards the app is nobody else’s business', () => {
    expect(problemsOf(minimal({ webapp: { upstream: 'http://10.0.0.1:3000/' } }))).toEqual([])
  })
})

it('mistakes between settings show beside invalid ones', () => {
  const document = minimal({
    server: { listen: 1 },
    pairing: { modes: 'all' },
    webapp: { upstream: 'http://board/x/', name: '' },
  })
  expect(problemsOf({ ...document, unknown: [] })).toEqual([
    'ocmServers[0].modes: is "all" (must be a list)',
    'server.listen: is 1 (must be host:port such as 0.0.0.0:8080 or [::]:8080)',
    'unknown: unknown key `unknown` (known here: server, store, storePasswordFile, sessions, audit, ocmServers, webapps)',
    'webapps[0].name: is empty (must be 1 to 40 lower-case letters, digits and inner hyphens such as notebooks)',
    'webapps[0].upstream: has the path /x/ where publicUrl has / (write http://board/, or use kind generic with stripPath: true)',
  ])
})

it('a webapp of an unknown kind still shows its other mistakes', () => {
  const webapp = {
    kind: 'wopy',
    wopy: {},
    publicURL: 'https://a.example/',
    publicUrl: undefined,
    timeouts: { idle: '1' },
  }
  expect(problemsOf(minimal({ webapp }))).toEqual([
    'webapps[0].kind: is "wopy" (must be generic or hub)',
    'webapps[0].publicURL: unknown key `publicURL` (did you mean `publicUrl`?)',
    'webapps[0].timeouts.idle: is "1" (must be a duration such as 300s, 10m or 8h)',
  ])
})

describe('two webapps on one host', () => {
  it('are allowed, with a warning that says why not', () => {
    const webapps = ['https://a.example.org/one/', 'https://a.example.org:8443/two/'].map((publicUrl, index) => ({
      name: `app${index}`,
      kind: 'generic',
      publicUrl,
      upstream: new URL(new URL(publicUrl).pathname, 'http://app/').href,
    }))
    expect(load({ ...minimal(), webapps })).toMatchObject({
      config: { webapps: [{ name: 'app0' }, { name: 'app1' }] },
      warnings: [
        {
          path: 'webapps[1].publicUrl',
          message:
            'shares the host a.example.org with webapps[0]: a script in one app can act in the other (better: a host for each)',
        },
      ],
    })
  })
})
