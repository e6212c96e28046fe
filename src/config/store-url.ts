import { Secret } from '../core/secret.ts'

const PORT = 6379
const SENTINEL_PORT = 26_379

const REDIS = /^(redis|rediss|redis\+sentinel):\/\/(?:([^@/]*)@)?([^/?#@]+)((?:\/[^/?#]+)*)\/?$/

/**
 * `redis://user:password@host:6379/0`, the same with `rediss` for TLS, or
 * `redis+sentinel://user:password@host:26379,host:26379/master/0`; user, password, ports and database may be left out.
 */
export function parseRedisUrl(url: string) {
  const [, scheme, login, places = '', path = ''] = REDIS.exec(url) ?? []
  if (scheme === undefined) return undefined
  const sentinel = scheme === 'redis+sentinel'
  const names = path.split('/').slice(1)
  const master = sentinel ? names.shift() : undefined
  const hosts = places.split(',').map((place) => parsePlace(place, sentinel ? SENTINEL_PORT : PORT))
  const known = hosts.filter((host) => host !== undefined)
  const [db = '0', ...more] = names
  if (known.length < hosts.length || more.length > 0 || !/^\d{1,4}$/.test(db)) return undefined
  if (sentinel ? master === undefined : hosts.length > 1) return undefined
  return { tls: scheme === 'rediss', hosts: known, master, db: Number(db), ...parseLogin(login) }
}

function parsePlace(place: string, standard: number): { host: string; port: number } | undefined {
  const [, host = '', port] = /^(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/.exec(place) ?? []
  const number = Number(port ?? standard)
  return host === '' || number < 1 || number > 65_535 ? undefined : { host: host.replace(/^\[|\]$/g, ''), port: number }
}

function parseLogin(login: string | undefined): { username: string | undefined; password: Secret | undefined } {
  const [, username, password] = /^([^:]*)(?::(.*))?$/.exec(login ?? '') ?? []
  return {
    username: username ? plain(username) : undefined,
    password: password ? new Secret(plain(password)) : undefined,
  }
}

/** As in every URL; a lone `%` stands for itself. */
function plain(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
