import type { Client } from './redis-connection.ts'

const OLDEST_VERSION = 7

/**
 * What stands in the way of keeping promises with this server.
 *
 * @returns warnings for the operator
 * @throws {Error} when it cannot be used at all
 */
export async function inspectServer(client: Client): Promise<string[]> {
  const info = parseInfo(await client.info())
  const { redis_version: version = '', redis_mode: mode, maxmemory_policy: policy, aof_enabled: appendOnly } = info
  if (Number.parseInt(version, 10) < OLDEST_VERSION) throw new Error(`it is Redis ${version} (must be 7.0 or newer)`)
  if (mode === 'cluster') throw new Error('it is a Redis Cluster (must be one server, or one that Sentinels watch)')
  const warnings: string[] = []
  if (policy !== undefined && policy !== 'noeviction') {
    warnings.push(
      `maxmemory-policy is ${policy}: Redis may forget shares and revocations when its memory is full (set noeviction)`,
    )
  }
  if (appendOnly === '0' && !(await savesSnapshots(client))) {
    warnings.push('neither AOF nor RDB is on: a restart of Redis loses all shares and revocations (set appendonly yes)')
  } else if (appendOnly === '0') {
    warnings.push('AOF is off: a crash of Redis loses what was stored since the last snapshot (set appendonly yes)')
  }
  return warnings
}

/** Who may not read the configuration cannot tell, and is not warned. */
async function savesSnapshots(client: Client): Promise<boolean> {
  const setting = (await client.config('GET', 'save').catch(() => undefined)) as
    | string[]
    | Record<string, string>
    | undefined
  const save = Array.isArray(setting) ? setting[1] : setting?.save
  return save !== ''
}

function parseInfo(info: string): Readonly<Record<string, string>> {
  return Object.fromEntries([...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value]))
}
