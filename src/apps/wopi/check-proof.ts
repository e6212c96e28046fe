import type { IncomingMessage } from 'node:http'
import { GatewayError } from '../../core/errors.ts'
import type { Clock } from '../../core/time.ts'
import { headerOf } from './answer.ts'
import type { EditorDiscovery } from './discovery.ts'
import type { WopiOptions } from './options.ts'
import { isFresh, type Proof, readTimestamp, verifyProof } from './proof.ts'
import type { SentToken } from './wopi-host.ts'

/** @param url as the editor requested it @throws {GatewayError} 500 `proof_refused`, which is how WOPI says it */
export type CheckProof = (req: IncomingMessage, token: SentToken | undefined, url: string) => Promise<void>

/**
 * Whether a call comes from our editor. Its keys may have changed since we asked: then they are asked for again, once.
 * `if-present` takes a call without a signature, and one that no key is published for.
 */
export function createProofCheck({
  mode,
  discovery,
  now,
}: {
  mode: WopiOptions['proof']
  discovery: EditorDiscovery
  now: Clock
}): CheckProof {
  async function matches(proofs: readonly Proof[]): Promise<'matches' | 'matches-not' | 'no-keys'> {
    const { proofKeys } = await discovery.get()
    if (proofKeys === undefined) return 'no-keys'
    for (const proof of proofs) {
      const key = verifyProof(proof, proofKeys)
      // The editor changes its keys: ours are those of before, or soon will be.
      if (key === 'ahead' || key === 'behind') discovery.again().catch(() => {})
      if (key !== undefined) return 'matches'
    }
    return 'matches-not'
  }

  return async ({ headers }, token, url) => {
    const proof = headerOf(headers, 'x-wopi-proof')
    if (mode === 'off' || (mode === 'if-present' && proof === undefined)) return
    if (proof === undefined || token === undefined) throw refused('missing')
    const timestamp = readTimestamp(headerOf(headers, 'x-wopi-timestamp'))
    if (timestamp === undefined || !isFresh(timestamp, now())) throw refused('timestamp')
    const proofOld = headerOf(headers, 'x-wopi-proofold')
    const proofs = spellings(token, url).map((spelled) => ({ ...spelled, timestamp, proof, proofOld }))
    let outcome = await matches(proofs)
    if (outcome !== 'matches') {
      await discovery.again()
      outcome = await matches(proofs)
    }
    if (outcome === 'matches' || (outcome === 'no-keys' && mode === 'if-present')) return
    throw refused(outcome)
  }
}

/** Most editors sign the decoded token, some the one in the query; some see a default port. */
function spellings({ value, raw }: SentToken, url: string): { token: string; url: string }[] {
  const tokens = value === raw ? [value] : [value, raw]
  return [url, withDefaultPort(url)].flatMap((each) => tokens.map((token) => ({ token, url: each })))
}

function withDefaultPort(url: string): string {
  return url.replace(
    /^(https?):\/\/([^/:]+|\[[^\]]+\])\//,
    (_, scheme: string, host: string) => `${scheme}://${host}:${scheme === 'https' ? 443 : 80}/`,
  )
}

function refused(why: string): GatewayError {
  return new GatewayError(500, 'proof_refused', 'The call could not be shown to come from the editor.', {
    detail: { why },
  })
}
