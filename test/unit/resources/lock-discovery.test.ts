import { describe, expect, it } from 'vitest'
import { readLocks } from '../../../src/resources/lock-discovery.ts'

const TOKEN = 'opaquelocktoken:e71d4fae-5dec-22d6-fea5-00a0c91e6be4'
const OWNER = 'ocm-webapp-gateway, https://office.example.org/wopi/files/abc'

const apache = `<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:"><D:href>/dav/a.odt</D:href><D:propstat><D:prop><D:lockdiscovery><D:activelock>
<D:locktype><D:write/></D:locktype><D:lockscope><D:exclusive/></D:lockscope><D:depth>0</D:depth>
<ns0:owner xmlns:ns0="DAV:">${OWNER}</ns0:owner><D:timeout>Second-1800</D:timeout>
<D:locktoken><D:href>${TOKEN}</D:href></D:locktoken></D:activelock></D:lockdiscovery></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>`

const lockdiscovery = (...locks: readonly string[]) =>
  `<d:multistatus xmlns:d="DAV:"><d:response><d:href>/a</d:href><d:propstat><d:prop><d:lockdiscovery>${locks.join('')}</d:lockdiscovery></d:prop></d:propstat></d:response></d:multistatus>`
const lock = (owner: string, token = TOKEN) =>
  `<d:activelock>${owner}<d:locktoken><d:href>${token}</d:href></d:locktoken></d:activelock>`

describe('the locks of a file', () => {
  it('are read as Apache tells them', async () => {
    expect(await readLocks(apache)).toEqual([{ owner: OWNER, token: TOKEN }])
  })

  it('may be several, and of owners that are no plain text', async () => {
    const text = lock('<d:owner>one &amp; two</d:owner>', 'urn:uuid:1')
    const nested = lock('<d:owner><d:href>mailto:a@b</d:href></d:owner>')
    const nobody = lock('')
    expect(await readLocks(lockdiscovery(nested, nobody, text))).toEqual([{ owner: 'one & two', token: 'urn:uuid:1' }])
  })

  it.each([
    ['none', lockdiscovery()],
    ['a multistatus without them', '<d:multistatus xmlns:d="DAV:"/>'],
    ['nothing', ''],
    ['no XML', '}{'],
    ['an error page', '<html><body>No'],
    ['a document type', `<!DOCTYPE x [<!ENTITY a "b">]>${lockdiscovery(lock('<d:owner>a</d:owner>'))}`],
    ['far too much', lockdiscovery(lock(`<d:owner>${'x'.repeat(70_000)}</d:owner>`))],
  ])('are none in %s', async (_what, xml) => {
    expect(await readLocks(xml)).toEqual([])
  })
})
