import { describe, expect, it } from 'vitest'
import { parseRedisUrl } from '../../../src/config/store-url.ts'
import { configOf, minimal, problemsOf } from './support.ts'

const SERVER = { tls: false, hosts: [{ host: 'db', port: 6379 }], master: undefined, db: 0, username: undefined }

describe('a Redis URL', () => {
  it.each([
    { url: 'redis://db', change: {} },
    { url: 'redis://db/', change: {} },
    { url: 'redis://db:6380/3', change: { hosts: [{ host: 'db', port: 6380 }], db: 3 } },
    { url: 'rediss://db:6379', change: { tls: true } },
    { url: 'redis://[::1]:6379/0', change: { hosts: [{ host: '::1', port: 6379 }] } },
    { url: 'redis://gateway@db', change: { username: 'gateway' } },
    {
      url: 'redis+sentinel://one,two:26380/main',
      change: {
        hosts: [
          { host: 'one', port: 26_379 },
          { host: 'two', port: 26_380 },
        ],
        master: 'main',
      },
    },
    { url: 'redis+sentinel://one/main/2', change: { hosts: [{ host: 'one', port: 26_379 }], master: 'main', db: 2 } },
  ])('$url says where Redis is', ({ url, change }) => {
    expect(parseRedisUrl(url)).toEqual({ ...SERVER, password: undefined, ...change })
  })

  it.each([
    { url: 'redis://:p%40ss%3A@db', username: undefined, password: 'p@ss:' },
    { url: 'redis://gateway:100%@db', username: 'gateway', password: '100%' },
  ])('$url has a password that no log shows', ({ url, username, password }) => {
    const parsed = parseRedisUrl(url)
    expect(parsed).toMatchObject({ username })
    expect(parsed?.password?.reveal()).toBe(password)
    expect(JSON.stringify(parsed)).not.toContain(password)
  })

  it.each([
    'redis://',
    'redis://one,two',
    'redis://db:0',
    'redis://db:65536',
    'redis://db/zero',
    'redis://db/0/1',
    'redis://db?db=1',
    'redis+sentinel://one,two',
    'redis+sentinel://one,,two/main',
    'unix:///run/redis.sock',
  ])('%s is none', (url) => {
    expect(parseRedisUrl(url)).toBeUndefined()
  })
})

describe('store in the configuration', () => {
  it('takes a Redis URL', () => {
    expect(configOf(minimal({ store: 'redis://db/1' })).store).toEqual({
      ...SERVER,
      kind: 'redis',
      password: undefined,
      db: 1,
    })
  })

  it('says what a Redis URL looks like, and not its password', () => {
    expect(problemsOf(minimal({ store: 'redis://:secret@one,two' }))).toEqual([
      'store: is "redis://…@one,two" (must be redis://host:6379/0, rediss://host:6379/0, redis+sentinel://host:26379,host:26379/master/0; a user name and a password in it are percent-encoded)',
    ])
  })
})
