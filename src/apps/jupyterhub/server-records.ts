import { type Awaitable, andThen } from '../../core/awaitable.ts'
import { remembered } from '../../core/remembered.ts'
import type { ShareKey, Workload } from '../../store/store.ts'
import type { AppTools } from '../app.ts'
import type { MintedToken } from './hub-client.ts'

/** A minted token as it is kept: its value sealed. */
interface KeptToken {
  readonly id: string
  readonly sealed: string
  /** Epoch seconds. */
  readonly expiresAt: number
}

/** What we keep of one hub user, from before it is made until after it is deleted. */
export interface ServerRecord extends ShareKey {
  /** The hub user. */
  readonly name: string
  /** The one token we minted; none before the server has run, and after it was stopped. */
  readonly token: KeptToken | undefined
  /** Epoch seconds: when the content was last looked after in the running server; until then nobody is let in. */
  readonly filledAt: number | undefined
}

export type ServerRecords = ReturnType<typeof createServerRecords>

/** The workloads of one webapp: its hub users and, sealed, their tokens. */
export function createServerRecords(
  webapp: string,
  { store, recentWorkloads, sealer }: Pick<AppTools, 'store' | 'recentWorkloads' | 'sealer'>,
) {
  const context = (name: string) => `token of ${name} at ${webapp}`
  /** One record for one workload, so that its token is opened once. */
  const recordOf = remembered(parsed)

  async function put({ name, senderDomain, shareId, token, filledAt }: ServerRecord): Promise<void> {
    await store.workloads.put({ webapp, name, senderDomain, shareId, data: JSON.stringify({ token, filledAt }) })
  }

  return {
    put,

    async get(name: string): Promise<ServerRecord | undefined> {
      const workload = await store.workloads.get(webapp, name)
      return workload && recordOf(workload)
    },

    /** As `get`, but at once while nothing changes: for requests. Who changes a record has to `get` it. */
    recent: (name: string): Awaitable<ServerRecord | undefined> =>
      andThen(recentWorkloads(webapp, name), (workload) => workload && recordOf(workload)),

    list: (): Promise<Workload[]> => store.workloads.list(webapp),

    delete: (name: string): Promise<void> => store.workloads.delete(webapp, name),

    putToken(record: ServerRecord, { id, token }: MintedToken, expiresAt: number): Promise<void> {
      return put({ ...record, token: { id, sealed: sealer.seal(token, context(record.name)), expiresAt } })
    },

    /** The token’s value; `undefined` when there is none, or our key is not the one it was sealed under. */
    tokenValue: remembered(({ name, token }: ServerRecord): string | undefined =>
      token === undefined ? undefined : sealer.open(token.sealed, context(name)),
    ),
  }
}

function parsed({ name, senderDomain, shareId, data }: Workload): ServerRecord {
  const { token, filledAt } = JSON.parse(data) as Pick<ServerRecord, 'token' | 'filledAt'>
  return { name, senderDomain, shareId, token, filledAt }
}
