import { describe, expect, it } from 'vitest'
import {
  chooseAction,
  createDiscovery,
  editorLocation,
  openableExtensions,
  pagePaths,
  readDiscovery,
} from '../../../../src/apps/wopi/discovery.ts'
import type { Outbound } from '../../../../src/core/outbound.ts'
import { createClock, createToldEvents } from '../../fixtures.ts'

const SOURCE = 'https://apps.example.org/office/wopi/files/abc'
const zone = (name: string, ...actions: string[]) =>
  `<net-zone name="${name}"><app name="x">${actions.join('')}</app></net-zone>`
const action = (name: string, ext: string, urlsrc: string) => `<action name="${name}" ext="${ext}" urlsrc="${urlsrc}"/>`
const document = (...parts: string[]) => `<?xml version="1.0"?><wopi-discovery>${parts.join('')}</wopi-discovery>`
const COOL = 'http://collabora:9980/browser/0a1b/cool.html?'
const ONLYOFFICE = 'http://oo/hosting/wopi/word/edit?&lt;rs=DC_LLCC&amp;&gt;&lt;wopisrc=WOPI_SOURCE&amp;&gt;&amp;'

describe('discovery', () => {
  it('prefers the most public zone, whatever the order, and takes any', () => {
    const internal = zone('internal-http', action('edit', 'odt', 'http://in/a'))
    const plain = zone('external-http', action('edit', 'odt', 'http://plain/b'))
    const secure = zone('external-https', action('edit', 'odt', 'https://secure/c'))
    const first = (...zones: string[]) => readDiscovery(document(...zones)).actions[0]?.urlsrc
    expect(first(internal, plain, secure)).toBe('https://secure/c')
    expect(first(internal, plain)).toBe('http://plain/b')
    expect(first(internal)).toBe('http://in/a')
  })

  it('takes several actions for a type, ignores those without one, and misses no keys', () => {
    const actions = [action('view', 'ODT', COOL), action('edit', 'odt', COOL), action('getinfo', '', COOL)]
    const discovery = readDiscovery(document(zone('external-http', ...actions)))
    expect(discovery.actions.map(({ name, extension }) => `${name} ${extension}`)).toEqual(['view odt', 'edit odt'])
    expect([discovery.proofKeys, discovery.flavour]).toEqual([undefined, 'collabora'])
    expect(openableExtensions(discovery)).toEqual(['odt'])
  })

  it.each(['', '<html></html>', '<wopi-discovery></wopi-discovery>', '{"a":1}'])('refuses %s', (text) => {
    expect(() => readDiscovery(text)).toThrow()
  })
})

describe('the action for a file', () => {
  const both = readDiscovery(
    document(zone('x', action('view', 'odt', 'http://e/view'), action('edit', 'odt', 'http://e/edit'))),
  )
  const editOnly = readDiscovery(document(zone('x', action('edit', 'odt', 'http://e/edit'))))
  const chosen = (discovery: typeof both, canWrite: boolean, name = 'a.odt') =>
    chooseAction(discovery, name, { canWrite })?.name

  it('goes by extension and permission; an editor without a viewer shows read-only files too', () => {
    expect([chosen(both, true), chosen(both, false), chosen(editOnly, false)]).toEqual(['edit', 'view', 'edit'])
  })

  it('knows types in any case, and none for others', () => {
    expect([chosen(both, true, 'A.ODT'), chosen(both, true, 'a.xyz'), chosen(both, true, 'odt')]).toEqual([
      'edit',
      undefined,
      undefined,
    ])
  })
})

describe('the address of the editor’s page', () => {
  const located = (urlsrc: string) => {
    const discovery = readDiscovery(document(zone('x', action('edit', 'odt', urlsrc))))
    const found = chooseAction(discovery, 'a.odt', { canWrite: true })
    return { location: found && editorLocation(found, SOURCE), pages: [...pagePaths(discovery)] }
  }

  it('of Collabora gets WOPISrc appended', () => {
    expect(located(COOL)).toEqual({
      location: `/browser/0a1b/cool.html?WOPISrc=${encodeURIComponent(SOURCE)}`,
      pages: ['/browser/0a1b/cool.html'],
    })
  })

  it('of OnlyOffice gets its placeholder filled in, and loses the others', () => {
    expect(located(ONLYOFFICE)).toEqual({
      location: `/hosting/wopi/word/edit?wopisrc=${encodeURIComponent(SOURCE)}`,
      pages: ['/hosting/wopi/word/edit'],
    })
  })

  it('keeps a query of its own', () => {
    expect(located('http://e/launch?lang=en&amp;').location).toBe(
      `/launch?lang=en&WOPISrc=${encodeURIComponent(SOURCE)}`,
    )
  })
})

describe('asking the editor', () => {
  function setUp() {
    const clock = createClock()
    const { events } = createToldEvents()
    let asked = 0
    let fails = false
    const request = async () => {
      asked += 1
      if (fails) throw new Error('down')
      return {
        status: 200,
        headers: new Headers(),
        body: Buffer.from(document(zone('x', action('edit', 'odt', COOL)))),
      }
    }
    const outbound = { request } as unknown as Outbound
    const discovery = createDiscovery({ url: 'http://e/d', webapp: 'office', outbound, events, now: clock.now })
    const fail = (value: boolean) => {
      fails = value
    }
    return { clock, discovery, asked: () => asked, fail }
  }

  it('happens once for many, and again after half a day', async () => {
    const { clock, discovery, asked } = setUp()
    await Promise.all([discovery.get(), discovery.get(), discovery.get()])
    expect(asked()).toBe(1)
    clock.advance(12 * 3600 + 1)
    await discovery.get()
    expect(asked()).toBe(2)
  })

  it('happens early when something does not fit, but not in a flood', async () => {
    const { clock, discovery, asked } = setUp()
    await discovery.get()
    for (let call = 0; call < 10; call += 1) await discovery.again()
    expect(asked()).toBe(1)
    clock.advance(31)
    for (let call = 0; call < 10; call += 1) await discovery.again()
    expect(asked()).toBe(2)
  })

  it('that fails leaves what was known; nothing known is 503', async () => {
    const { clock, discovery, fail } = setUp()
    fail(true)
    await expect(discovery.get()).rejects.toMatchObject({ status: 503, reason: 'editor_unknown' })
    fail(false)
    await discovery.get()
    fail(true)
    clock.advance(13 * 3600)
    await expect(discovery.get()).resolves.toMatchObject({ flavour: 'collabora' })
  })
})
