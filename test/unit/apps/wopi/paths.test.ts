import { describe, expect, it } from 'vitest'
import { isEditorPage, isStaticPath, neededPermission } from '../../../../src/apps/wopi/editor-paths.ts'
import { documentsNamed, isNamed } from '../../../../src/apps/wopi/wopi-src.ts'
import { outcomeOf } from '../../fixtures.ts'

const SOURCE = 'https://apps.example.org/office/wopi/files/Jx2-_abc'
const OTHER = 'https://apps.example.org/office/wopi/files/another'
const encoded = (source: string) => encodeURIComponent(`${source}?access_token=t&access_token_ttl=1`)

describe('without a session', () => {
  it.each([
    'browser/0a1b/bundle.js',
    'browser/0a1b/images/x.svg',
    'web-apps/apps/api/documents/api.js',
    '9.0.0-c0ffee/sdkjs/word/sdk-all.js',
    'fonts/odttf/x.odttf',
  ])('%s is static', (path) => expect(isStaticPath(path)).toBe(true))

  it.each([
    'browser/0a1b/cool.html',
    'browser/0a1b/Cool.html',
    'browser/0a1b/deeper/cool.html',
    'browser/dist/admin/admin.html',
    'browser/0a1b',
    'browser/%2e%2e/cool/adminws',
    'browser/0a1b//x.js',
    'cool/clipboard',
    'hosting/discovery',
    'hosting/wopi/word/edit',
    'doc/key/c/info',
    'web-apps',
    '',
  ])('%s is not', (path) => expect(isStaticPath(path)).toBe(false))
})

describe('with a session', () => {
  it.each([
    ['GET', 'cool/x/ws', 'ok'],
    ['POST', 'hosting/wopi/word/edit', '403 editor_page_posted'],
    ['POST', 'browser/0a1b/cool.html', '403 editor_page_posted'],
    ['POST', 'browser/0a1b/cool.html;x', '403 editor_page_posted'],
    ['POST', 'cool/convert-to/pdf', '403 editor_endpoint'],
    ['POST', 'cool/extract-link-targets', '403 editor_endpoint'],
    ['GET', 'lool/adminws', '403 editor_endpoint'],
    ['POST', 'coauthoring/CommandService.ashx', '403 editor_endpoint'],
    ['POST', '9.0.0-1/converter', '403 editor_endpoint'],
    ['GET', 'wopi/files/1', '403 editor_endpoint'],
  ])('%s %s: %s', async (method, path, outcome) => {
    expect(await outcomeOf(() => neededPermission({ method, path }))).toBe(outcome)
  })

  it('taking content away needs more than to view it, and bringing some in is writing', () => {
    const needed = (path: string) => neededPermission({ method: 'GET', path })
    expect(needed('cool/https://x/wopi/files/1/download/abc')).toBe('read')
    expect(needed('cool/clipboard')).toBe('read')
    expect(needed('cool/https://x/insertfile')).toBe('write')
    expect(needed('browser/0a1b/cool.html')).toBe('view')
  })

  it('pages of the known editors are known without discovery', () => {
    expect(['browser/0a1b/cool.html', 'hosting/wopi/cell/view', 'browser/0a1b/bundle.js'].map(isEditorPage)).toEqual([
      true,
      true,
      false,
    ])
  })
})

describe('the documents that a URL names', () => {
  const named = (path: string, query = '') => isNamed(documentsNamed(path, query), SOURCE)
  const source = encodeURIComponent(SOURCE)

  it.each([
    ['classic', `cool/${encoded(SOURCE)}/ws`, `?WOPISrc=${source}&compat=/ws`],
    ['hexadecimal', `cool/0x${Buffer.from(`${SOURCE}?access_token=t`).toString('hex')}/ws`, `?WOPISrc=${source}`],
    ['newer', 'cool/ws', `?WOPISrc=${source}&access_token=t`],
    ['default port spelled out', 'cool/ws', `?WOPISrc=${encodeURIComponent(SOURCE.replace('.org/', '.org:443/'))}`],
    ['OnlyOffice', 'doc/Jx2-_abc/c/', ''],
    ['OnlyOffice, to view', 'doc/view.Jx2-_abc.7/c/', ''],
    ['nothing at all', 'browser/0a1b/bundle.js', '?x=1'],
  ])('are this one: %s', (_what, path, query) => expect(named(path, query)).toBe(true))

  it.each([
    ['a WebSocket that names none', 'cool/ws', ''],
    ['another in the path', `cool/${encoded(OTHER)}/ws`, `?WOPISrc=${source}`],
    ['another in the query', `cool/${encoded(SOURCE)}/ws`, `?WOPISrc=${encodeURIComponent(OTHER)}`],
    ['another in a second copy', 'cool/ws', `?WOPISrc=${source}&wopisrc=${encodeURIComponent(OTHER)}`],
    ['another behind an encoded name', 'cool/ws', `?WOPIS%72c=${encodeURIComponent(OTHER)}&WOPISrc=${source}`],
    ['encoded twice', `cool/${encodeURIComponent(encoded(SOURCE))}/ws`, ''],
    ['malformed escapes', 'cool/%ff%fe/ws', ''],
    ['plain slashes', `cool/${SOURCE}/ws`, ''],
    ['a longer one', 'cool/ws', `?WOPISrc=${source}8`],
    ['another key', 'doc/another/c/', ''],
    ['a key that begins like it', 'doc/Jx2-_abcd/c/', ''],
    ['another behind a version', '9.0.0-1/doc/another/c/', ''],
    ['another behind two slashes', `/cool/${encoded(OTHER)}/ws`, ''],
    ['another behind two slashes further down', `cool//${encoded(OTHER)}/ws`, ''],
    ['another behind an encoded letter', `%63ool/${encoded(OTHER)}/ws`, ''],
    ['another behind a path parameter', `cool;x/${encoded(OTHER)}/ws`, ''],
    ['another behind an encoded slash', `cool%2f${encoded(OTHER)}/ws`, ''],
    ['another in the upper case', `COOL/${encoded(OTHER)}/ws`, ''],
    ['none, and a slash at the end', 'cool/ws/', ''],
    ['none, and an encoded letter', '%63ool/ws', ''],
    ['none, and an encoded letter at the end', 'cool/%77s', ''],
    ['another key behind an encoded letter', '%64oc/another/c/', ''],
    ['another key behind two slashes', '/doc//another/c/', ''],
    ['another key and nothing more', 'doc/another', ''],
  ])('are not: %s', (_what, path, query) => expect(named(path, query)).toBe(false))
})
