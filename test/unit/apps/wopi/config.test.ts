import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { appKinds } from '../../../../src/apps/registry.ts'
import { loadConfig } from '../../../../src/config/load.ts'

/** What `check` says about an office and whatever is beside it. */
function problemsOf(office: Record<string, unknown>, ...others: Record<string, unknown>[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'wopi-config-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'gateway.yaml')
  const upstream = 'http://collabora:9980/'
  const webapps = [
    { name: 'office', kind: 'wopi', publicUrl: 'https://office.example.org/', upstream, ...office },
    ...others.map((other, index) => ({
      name: `other${index}`,
      kind: 'generic',
      upstream: 'http://other:80/',
      ...other,
    })),
  ]
  const server = { publicUrl: 'https://apps.example.org', signingKeyFile: './key.json' }
  const ocmServers = [{ domain: 'cloud.example.org' }]
  writeFileSync(file, JSON.stringify({ server, store: 'memory:', ocmServers, webapps }))
  const loaded = loadConfig(file, { kinds: appKinds, env: {} })
  return 'problems' in loaded ? loaded.problems.map(({ path, message }) => `${path}: ${message}`) : []
}

const hostUrl = (url: string, more = {}) => ({ wopi: { hostUrl: url, ...more } })
const strip = { generic: { stripPath: true } }

describe('hostUrl: the WOPI endpoints are answered at a place that nothing else has', () => {
  it.each([
    ['the address of another webapp', 'https://notes.example.org/', 'https://notes.example.org/'],
    ['an address below another webapp', 'https://notes.example.org/a/b/', 'https://notes.example.org/a/'],
    [
      'an address that has another webapp in its endpoints',
      'https://notes.example.org/',
      'https://notes.example.org/wopi/x/',
    ],
    ['the same with the default port spelled out', 'https://NOTES.example.org:443/', 'https://notes.example.org/'],
  ])('%s is refused', (_what, url, publicUrl) => {
    expect(problemsOf(hostUrl(url), { publicUrl, ...strip })).toEqual([
      'webapps[0].wopi.hostUrl: overlaps with webapps[1].publicUrl (must be a path that nothing else answers)',
    ])
  })

  it('that of another office is refused', () => {
    const second = { kind: 'wopi', publicUrl: 'https://two.example.org/', upstream: 'http://collabora2:9980/' }
    const there = 'https://wopi.example.org/'
    expect(problemsOf(hostUrl(there), { ...second, ...hostUrl(there) })).toEqual([
      'webapps[1].wopi.hostUrl: overlaps with webapps[0].wopi.hostUrl (must be a path that nothing else answers)',
    ])
    expect(problemsOf({}, { ...second, ...hostUrl('https://office.example.org/') })).toEqual([
      'webapps[1].wopi.hostUrl: overlaps with webapps[0].publicUrl (must be a path that nothing else answers)',
    ])
  })

  it('a launch alias and the Integration API keep their places', () => {
    const alias = { publicUrl: 'https://notes.example.org/a/', launchAliases: ['/wopi/open'], ...strip }
    expect(problemsOf(hostUrl('https://notes.example.org/'), alias)).toEqual([
      'webapps[1].launchAliases[0]: overlaps with webapps[0].wopi.hostUrl (must be a path that nothing else answers)',
    ])
    expect(problemsOf(hostUrl('https://apps.example.org/ocm/'))).toEqual([
      'webapps[0].wopi.hostUrl: overlaps with server.integrationApi (/ocm) (must be a path that nothing else answers)',
    ])
  })

  it.each([
    ['its own publicUrl', 'https://office.example.org/'],
    ['a path below it', 'https://office.example.org/internal/'],
    ['a host of its own', 'https://wopi.example.org/'],
    ['a host inside the network, by http', 'http://gateway:8080/office/'],
    ['another path of the host of another webapp', 'https://notes.example.org/office/'],
    ['another port', 'https://notes.example.org:8443/a/'],
  ])('%s is fine', (_what, url) => {
    expect(problemsOf(hostUrl(url), { publicUrl: 'https://notes.example.org/a/', ...strip })).toEqual([])
  })

  it('nobody is a WOPI host in passthrough', () => {
    const other = { publicUrl: 'https://notes.example.org/', ...strip }
    expect(problemsOf(hostUrl('https://notes.example.org/', { mode: 'passthrough' }), other)).toEqual([])
  })
})
