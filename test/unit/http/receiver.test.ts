import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { frameAncestorsOf, isReceiverUri, receiverOf } from '../../../src/http/receiver.ts'
import { pairingOf, shareOf } from '../fixtures.ts'

const PAIRING = pairingOf('cloud.example')
const BOBS = receiverOf('bob@bob.example', PAIRING, false)

describe('the Receiving Server', () => {
  it.each([
    ['bob@bob.example', false, ['https://bob.example']],
    ['bob@https://BOB.example:443/', false, ['https://bob.example']],
    ['bob@bob.example:8443/nextcloud', false, ['https://bob.example:8443']],
    ['b@evil.example@bob.example', false, ['https://bob.example']],
    ['bob@bob.localhost:8080', false, ['https://bob.localhost:8080']],
    ['bob@bob.localhost:8080', true, ['http://bob.localhost:8080', 'https://bob.localhost:8080']],
    ['bob@bob.example', true, ['https://bob.example']],
    ['bob@localhost.example', true, ['https://localhost.example']],
    ['bob', false, []],
    ["bob@x; script-src 'unsafe-inline'", false, []],
    ['bob@*', false, []],
  ])('of %s (loopback %s) has the origins %j', (aud, insecureLoopback, origins) => {
    expect(receiverOf(aud, PAIRING, insecureLoopback)).toEqual({ origins })
  })

  it('has those that the operator adds', () => {
    const pairing = pairingOf('cloud.example', { receiverOrigins: ['https://portal.example'] })
    expect(receiverOf('bob@bob.example', pairing, false).origins).toEqual([
      'https://bob.example',
      'https://portal.example',
    ])
  })

  it.each([
    [undefined, ['https://bob.example']],
    [['iframe'], ['https://bob.example']],
    [['blank', 'iframe'], ['https://bob.example']],
    [['blank'], []],
    [['redirect'], []],
    [[], []],
  ])('may frame a share with targets %j: %j', (targets, sources) => {
    const share = shareOf({ protocol: { webapp: { permissions: ['view'], targets } } })
    expect(frameAncestorsOf(BOBS, share)).toEqual(sources)
  })
})

describe('an expired_session_redirect_uri', () => {
  it.each([
    'https://bob.example/',
    'https://bob.example',
    'https://bob.example/apps/ocmremotewebapp/?a=b#c',
    'https://bob.example/index.php/apps/ocmremotewebapp/',
    'https://BOB.example:443/x',
  ])('%s leads to the Receiving Server', (uri) => {
    expect(isReceiverUri(uri, BOBS)).toBe(true)
  })

  it.each([
    ...[
      '',
      '/',
      '/apps',
      '//bob.example/',
      'bob.example',
      'https:',
      'https://',
      'https:/bob.example',
      'https:bob.example',
    ],
    ...[
      'http://bob.example/',
      'ftp://bob.example/',
      'javascript:alert(1)',
      'javascript://bob.example/%0aalert(1)',
      'data:text/html,x',
    ],
    ...[
      'https://evil.example/',
      'https://bob.example.evil.example/',
      'https://evilbob.example/',
      'https://bob.example.',
      'https://x.bob.example',
    ],
    ...[
      'https://bob.example:8443/',
      'https://bob.example:80/',
      'https://bob.example@evil.example/',
      'https://bob.example:x@evil.example/',
    ],
    ...[
      'https://evil.example@bob.example/',
      'https://evil.example/@bob.example',
      'https://bob.example\\@evil.example/',
    ],
    ...[
      'https://evil.example\\.bob.example/',
      'https:\\\\bob.example/',
      '/\\bob.example',
      'https://bob.example/\\evil.example',
    ],
    ...[
      ' https://bob.example/',
      'https://bob.example/ ',
      'https://bob.example/\n',
      'https://bob.example/\r\nX: y',
      'https://bob\t.example/',
    ],
    ...[
      'https://evil.example/?https://bob.example/',
      'https://evil.example#https://bob.example',
      'https://*',
      'https://[::1]/',
    ],
    // What no header can carry, and what only a parser makes a host of.
    ...[
      'https://bob.example/\u2713',
      'https://bob.example/\x01',
      'https://bob.example/\x7f',
      'https://\uff42ob.example/',
    ],
    `https://bob.example/${'x'.repeat(2048)}`,
  ])('%j does not', (uri) => {
    expect(isReceiverUri(uri, BOBS)).toBe(false)
  })

  it('leads nowhere when there is no Receiving Server', () => {
    expect(isReceiverUri('https://bob.example/', { origins: [] })).toBe(false)
    expect(isReceiverUri('https:///', { origins: ['https://'] })).toBe(false)
  })

  it('whatever it is, is accepted only when a browser goes to that very origin', () => {
    const piece = fc.constantFrom(
      ...[
        'https://',
        'http://',
        '//',
        '/',
        '\\',
        '@',
        ':',
        '.',
        '#',
        '?',
        'bob.example',
        'evil.example',
        'ｂ',
        '。',
        '%2e',
        '%40',
        '443',
        ' ',
        '\t',
        '\n',
        'x',
      ],
    )
    const property = fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const uri = `https://bob.example${pieces.join('')}`
      for (const candidate of [uri, pieces.join('')]) {
        if (isReceiverUri(candidate, BOBS)) expect(new URL(candidate).origin).toBe('https://bob.example')
      }
    })
    fc.assert(property, { numRuns: 5000 })
  })
})
