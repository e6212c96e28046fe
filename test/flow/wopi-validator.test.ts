import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { createValidator, type ValidatorRequest, type ValidatorResponse } from '../unit/apps/wopi/validator.ts'
import { send } from './harness.ts'
import { startWopiScene } from './wopi-scene.ts'

/** Microsoft’s test cases; not part of this repository. */
const CASES = join(import.meta.dirname, '../../../shared/data/wopi-validator')

/** What applies to a host with locks and updates that does not rename, delete, or save under another name. */
const GROUPS = [
  'CheckFileInfoSchema',
  'BaseWopiViewing',
  'Locks',
  'GetLock',
  'ExtendedLockLength',
  'EditFlows',
  'FileVersion',
  'PutRelativeFileUnsupported',
  'ProofKeys',
]

async function validate(proof: string, change: (response: ValidatorResponse) => ValidatorResponse = (same) => same) {
  const scene = await startWopiScene({ wopi: { proof } })
  const { wopiSrc, token } = await scene.edit(await scene.open({ resource: 'Empty.wopitest' }))
  const validator = createValidator(CASES, {
    wopiSrc,
    token,
    keys: scene.editor.keys,
    async send({ method, url, headers, body }: ValidatorRequest) {
      const { pathname, search } = new URL(url)
      return change(
        await send(scene.gateway, pathname + search, { method, headers, ...(method === 'POST' && { body }) }),
      )
    },
  })
  return validator.run(GROUPS)
}

it.skipIf(!existsSync(CASES)).each(['if-present', 'require'])(
  'the host passes the 46 cases of Microsoft’s validator that apply to it (proof: %s)',
  async (proof) => {
    const outcomes = await validate(proof)
    expect(outcomes.filter(({ result }) => result !== 'pass')).toEqual([])
    expect(outcomes).toHaveLength(46)
  },
)

it.skipIf(!existsSync(CASES))(
  'the interpreter sees a host that forgets a header, and one that refuses in another way',
  async () => {
    const outcomes = await validate('off', (response) => ({
      status: response.status === 501 ? 500 : response.status,
      header: (name) => (name.toLowerCase() === 'x-wopi-itemversion' ? undefined : response.header(name)),
      body: response.body,
    }))
    const failed = outcomes.filter(({ result }) => result === 'fail')
    const groups = failed.map(({ group }) => group)
    expect(groups.filter((group) => group === 'FileVersion')).toHaveLength(6)
    expect(groups.filter((group) => group === 'PutRelativeFileUnsupported')).toHaveLength(6)
    // Nobody looked at the proofs: the three cases that want a refusal see none.
    expect(groups.filter((group) => group === 'ProofKeys')).toHaveLength(3)
    expect(failed).toHaveLength(15)
  },
)
