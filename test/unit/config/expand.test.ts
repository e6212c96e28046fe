// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these variables are the configuration's
import { describe, expect, it } from 'vitest'
import { expandVariables } from '../../../src/config/expand.ts'
import { configOf, minimal, problemsOf } from './support.ts'

const env = { HOST: 'apps.example.org', EMPTY: '', NESTED: '${HOST}' }

describe('variables in a text', () => {
  it.each([
    ['${HOST}', 'apps.example.org'],
    ['https://${HOST}/a', 'https://apps.example.org/a'],
    ['${HOST} ${HOST}', 'apps.example.org apps.example.org'],
    ['${HOST:-other}', 'apps.example.org'],
    ['${MISSING:-other}', 'other'],
    ['${MISSING:-}', ''],
    ['${MISSING:-a:-b}', 'a:-b'],
    ['${EMPTY}', ''],
    ['${EMPTY:-other}', 'other'],
    ['$${HOST}', '${HOST}'],
    ['$$${HOST}', '$${HOST}'],
    ['$HOST $ {HOST} 5$', '$HOST $ {HOST} 5$'],
    ['${NESTED}', '${HOST}'],
  ])('%s becomes %s', (text, expected) => {
    expect(expandVariables({ key: [text] }, env)).toEqual({ document: { key: [expected] }, findings: [] })
  })

  it.each(['${}', '${1}', '${HOST', '${HOST-x}', '${ HOST }'])('%s is no variable, and is reported', (text) => {
    expect(expandVariables([text], env)).toEqual({
      document: [text],
      findings: [
        {
          path: [0],
          message: 'has ${ without a variable name (write ${NAME}, ${NAME:-default}, or $${ for the two characters)',
        },
      ],
    })
  })

  it.each(['constructor', '__proto__', 'toString'])(
    '${%s} is not set: what objects inherit is no environment',
    (name) => {
      expect(expandVariables(`\${${name}}`, env).findings).toHaveLength(1)
    },
  )

  it('every variable that is not set is reported once', () => {
    expect(expandVariables({ a: '${ONE} ${TWO} ${ONE}' }, env).findings).toEqual([
      { path: ['a'], message: expect.stringContaining('variable ONE,') },
      { path: ['a'], message: expect.stringContaining('variable TWO,') },
    ])
  })

  it('keys, numbers and truth values stay as they are', () => {
    const document = { '${HOST}': 1, b: true, c: null }
    expect(expandVariables(document, env)).toEqual({ document, findings: [] })
  })
})

describe('in a configuration', () => {
  it('a variable is filled in wherever a text stands', () => {
    const { server, ocmServers } = configOf(
      minimal({ server: { publicUrl: 'https://${HOST}' }, pairing: { modes: ['${MODE:-self-contained}'] } }),
      { env },
    )
    expect(server.publicUrl).toBe('https://apps.example.org')
    expect(ocmServers[0]?.modes).toEqual(['self-contained'])
  })

  it('a variable that is not set is one problem, at its place', () => {
    expect(problemsOf(minimal({ server: { publicUrl: 'https://${GATEWAY_HOST}' } }), { env })).toEqual([
      'server.publicUrl: needs the environment variable GATEWAY_HOST, which is not set (set it, or write ${GATEWAY_HOST:-default})',
    ])
  })

  it('what a variable holds is never shown: it may be a secret', () => {
    const problems = problemsOf(minimal({ server: { publicUrl: '${SECRET}' }, store: 'x${SECRET}' }), {
      env: { SECRET: 'hunter2' },
    })
    expect(problems).toEqual([
      'server.publicUrl: is not right with ${SECRET} filled in (must be an https:// URL such as https://apps.example.org/, without user name, query or #)',
      'store: is not right with ${SECRET} filled in (must be sqlite:<file>, such as sqlite:./data/gateway.db, redis://host:6379/0, rediss://host:6379/0, redis+sentinel://host:26379,host:26379/master/0, or memory:)',
    ])
  })
})
