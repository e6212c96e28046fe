import { type Awaitable, andThen } from '../../core/awaitable.ts'
import { asGatewayError } from '../../core/errors.ts'
import type { Clock } from '../../core/time.ts'
import type { HubClient } from './hub-client.ts'
import type { ServerRecord, ServerRecords } from './server-records.ts'

/** JupyterLab shows its page the token, so it is short-lived. */
const TOKEN_SECONDS = 3600
const RENEW_BEFORE_SECONDS = 900

interface TokenParts {
  readonly hub: HubClient
  readonly records: ServerRecords
  readonly now: Clock
  /** Runs alone among all that changes this server, in any process. */
  readonly exclusively: <T>(name: string, work: () => Promise<T>) => Promise<T>
}

/** The one token of each running server: minted at its start, minted again before it ends. */
export function createTokens({ hub, records, now, exclusively }: TokenParts) {
  const renewals = new Map<string, Promise<string | undefined>>()
  const secondsLeft = ({ token }: ServerRecord) => (token?.expiresAt ?? 0) - now()

  /** Mints a token in place of the one in the record. The caller has the server to itself. */
  async function mint(record: ServerRecord): Promise<string> {
    const expiresAt = now() + TOKEN_SECONDS
    const minted = await hub.mintToken(record.name, TOKEN_SECONDS)
    await records.putToken(record, minted, expiresAt)
    const { token: former } = record
    // Hubs use an id again; and a token that cannot be deleted now ends within the hour, or with its user.
    if (former && former.id !== minted.id) await hub.deleteToken(record.name, former.id).catch(() => {})
    return minted.token
  }

  async function renew(name: string): Promise<string | undefined> {
    const record = await records.get(name)
    if (record?.token === undefined) return undefined
    const renewedElsewhere = secondsLeft(record) > RENEW_BEFORE_SECONDS
    return renewedElsewhere ? records.tokenValue(record) : mint(record)
  }

  function renewOnce(name: string): Promise<string | undefined> {
    const renewal = renewals.get(name) ?? exclusively(name, () => renew(name)).finally(() => renewals.delete(name))
    renewals.set(name, renewal)
    return renewal
  }

  /** @returns `undefined` when the hub can be asked, but has no such token for us: then only a new start helps */
  async function renewedLate(name: string): Promise<string | undefined> {
    try {
      return await renewOnce(name)
    } catch (error) {
      if (asGatewayError(error).status === 503) throw error
      return undefined
    }
  }

  function current(record: ServerRecord | undefined): Awaitable<string | undefined> {
    if (record?.token === undefined || record.filledAt === undefined) return undefined
    const { name } = record
    if (secondsLeft(record) <= 0) return renewedLate(name)
    // A failure shows when the token has ended; every request until then tries anew.
    if (secondsLeft(record) <= RENEW_BEFORE_SECONDS) renewOnce(name).catch(() => {})
    return records.tokenValue(record)
  }

  return {
    mint,

    /**
     * The token to inject. In its last quarter of an hour another is minted, while this one serves on.
     *
     * @returns `undefined` when the server was not started, was stopped, or has not got its content yet
     */
    value: (name: string): Awaitable<string | undefined> => andThen(records.recent(name), current),

    isValid: (record: ServerRecord): boolean => secondsLeft(record) > 0 && records.tokenValue(record) !== undefined,
  }
}
