import { describe, expect, it } from 'vitest'
import { GatewayError } from '../../../src/core/errors.ts'
import { createPlaces } from '../../../src/http/places.ts'
import { genericApp, serverConfig } from '../apps/generic/webapp.ts'

const ISOLATED = '/jail/~0123456789abcdef/'
const places = createPlaces(serverConfig({ publicUrl: 'https://apps.example.org' }), [
  genericApp({ launchAliases: ['/services/ocm/open'] }),
  genericApp(
    { name: 'jail', publicUrl: 'https://apps.example.org/jail/', upstream: 'http://jail:8000/' },
    { isolation: 'path' },
  ),
  genericApp({ name: 'other', publicUrl: 'https://other.example.org:8443/', upstream: 'http://other:8000/' }),
])

/** What answers, in one line. */
function found(host: string | undefined, path: string): string {
  try {
    const place = places.find(host, { path, query: '' })
    const webapp = place.site?.app.webapp.name
    const { operation, suffix, scope } = place as { operation?: string; suffix?: string; scope?: string }
    return [place.kind, operation, webapp, scope, suffix].filter((part) => part !== undefined).join(' ')
  } catch (error) {
    if (error instanceof GatewayError) return `${error.status} ${error.reason}`
    throw error
  }
}

const APPS = 'apps.example.org'
const OTHER = 'other.example.org:8443'

describe('a host', () => {
  it.each([
    ['apps.example.org', 'app notes /notes/'],
    ['APPS.example.org', 'app notes /notes/'],
    ['apps.example.org:443', 'app notes /notes/'],
    ['apps.example.org:80', '421 host_unknown'],
    ['apps.example.org:8443', '421 host_unknown'],
    ['apps.example.org.', '421 host_unknown'],
    ['xapps.example.org', '421 host_unknown'],
    ['apps.example.org.evil.example', '421 host_unknown'],
    ['example.org', '421 host_unknown'],
    ['127.0.0.1', '421 host_unknown'],
    ['[::1]:8080', '421 host_unknown'],
    ['__proto__', '421 host_unknown'],
    [undefined, '400 host_malformed'],
    ['', '400 host_malformed'],
    ['apps.example.org@evil.example', '400 host_malformed'],
    ['apps.example.org/notes', '400 host_malformed'],
    ['apps.example.org, evil.example', '400 host_malformed'],
    ['apps.example.org ', '400 host_malformed'],
    ['apps.example.org:x', '400 host_malformed'],
    ['apps.example.org:443:443', '400 host_malformed'],
    ['apps.example.org#', '400 host_malformed'],
    ['<script>', '400 host_malformed'],
  ])('%j: %s', (host, place) => {
    expect(found(host, '/notes/a')).toBe(place)
  })
})

describe('a place', () => {
  it.each([
    [APPS, '/.well-known/jwks.json', 'own jwks'],
    [APPS, '/ocm', 'own liveness'],
    [APPS, '/ocm/', 'own liveness'],
    [APPS, '/ocm/shares', 'own shares'],
    [APPS, '/ocm/revoke', 'own revoke'],
    [APPS, '/ocm/close', 'own close'],
    [APPS, '/ocm/shares/', '404 no_such_page'],
    [APPS, '/OCM/shares', '404 no_such_page'],
    [APPS, '/ocm%2fshares', '400 target_ambiguous'],
    [APPS, '//ocm/shares', '400 target_ambiguous'],
    [APPS, '/healthz', '404 no_such_page'],
    [APPS, '/metrics', '404 no_such_page'],
    [APPS, '/readyz', '404 no_such_page'],
    [APPS, '/', '404 no_such_page'],
    [OTHER, '/.well-known/jwks.json', 'app other /'],
    [OTHER, '/ocm/shares', 'app other /'],

    [APPS, '/notes/.ocm/open', 'own launch notes '],
    [APPS, '/notes/.ocm/open/', 'own launch notes '],
    [APPS, '/notes/.ocm/open/a/b%20c.md', 'own launch notes a/b%20c.md'],
    [APPS, '/notes/.ocm/opener', '404 no_such_page'],
    [APPS, '/services/ocm/open', 'own launch notes '],
    [APPS, '/services/ocm/open/a.md', 'own launch notes a.md'],
    [APPS, '/services/ocm/opener', '404 no_such_page'],
    [APPS, '/jail/.ocm/open/a', 'own launch jail a'],
    [OTHER, '/.ocm/open', 'own launch other '],
    [OTHER, '/services/ocm/open', 'app other /'],

    [APPS, '/notes/.ocm/expired', 'own expired notes'],
    [APPS, '/notes/.ocm/session', 'own session notes /notes/'],
    [APPS, '/notes/.ocm/logout', 'own logout notes /notes/'],
    [APPS, '/notes/.ocm/starting', 'own starting notes /notes/'],
    [APPS, '/notes/.ocm/starting/events', 'own starting-events notes /notes/'],
    [APPS, '/notes/.ocm/', '404 no_such_page'],
    [APPS, '/notes/.ocm/constructor', '404 no_such_page'],
    [APPS, '/notes/.ocm/unknown', '404 no_such_page'],
    [APPS, `${ISOLATED}.ocm/session`, `own session jail ${ISOLATED}`],
    [APPS, '/jail/.ocm/session', 'outside jail'],

    [APPS, '/notes/', 'app notes /notes/'],
    [APPS, '/notes/a//b%2fc%5cd', 'app notes /notes/'],
    [APPS, '/notes', '404 no_such_page'],
    [APPS, '/notesevil/', '404 no_such_page'],
    [APPS, '/Notes/', '404 no_such_page'],
    [APPS, '/notes%2fa', '400 target_ambiguous'],
    [APPS, '//notes/a', '400 target_ambiguous'],
    [APPS, ISOLATED, `app jail ${ISOLATED}`],
    [APPS, `${ISOLATED}a%2f..b`, `app jail ${ISOLATED}`],
    [APPS, ISOLATED.slice(0, -1), 'outside jail'],
    [APPS, '/jail/', 'outside jail'],
    [APPS, '/jail/a', 'outside jail'],
    [APPS, '/jail//~0123456789abcdef/', '400 target_ambiguous'],
    [APPS, '/jail/~0123456789abcdef%2f', '400 target_ambiguous'],
    [APPS, '/jail/%7E0123456789abcdef/', 'outside jail'],
  ])('%s %s: %s', (host, path, place) => {
    expect(found(host, path)).toBe(place)
  })
})
