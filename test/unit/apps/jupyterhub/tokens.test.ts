import { generateKeyPairSync } from 'node:crypto'
import { expect, it } from 'vitest'
import { createSealer } from '../../../../src/trust/sealer.ts'
import { createRig, sessionFor, started, until } from './rig.ts'

it('there are no credentials for a server that was not started', async () => {
  const { app, hub } = await createRig()
  expect(await app.credentials(sessionFor(app))).toBeUndefined()
  expect(hub.calls).toEqual([])
})

it('the minted token is injected, also after a restart of the gateway, and lies sealed in the store', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  const [minted] = rig.hub.users.get(name)?.tokens.values() ?? []
  const expected = { authorization: `token ${minted?.token}` }
  expect(await rig.app.credentials(session)).toEqual(expected)
  expect(await rig.reopen().credentials(session)).toEqual(expected)
  expect(await rig.reopen().ready(session)).toContain(name)
  expect(JSON.stringify(await rig.tools.store.workloads.list('notebooks'))).not.toContain(minted?.token)
})

it('the token is there at once while nothing changes, and the store is not asked', async () => {
  const rig = await createRig()
  const { session } = await started(rig)
  const credentials = await rig.app.credentials(session)
  await rig.tools.store.close()
  expect(rig.app.credentials(session)).toEqual(credentials)
})

it('a token sealed under another key counts as none, and is still deleted when another is minted', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  Object.assign(rig.tools, { sealer: createSealer(generateKeyPairSync('ed25519').privateKey) })
  const app = rig.reopen()
  expect(await app.credentials(session)).toBeUndefined()
  expect(await app.ready(session)).toBeUndefined()
  await app.prepare(session, () => {})
  expect([...(rig.hub.users.get(name)?.tokens.keys() ?? [])]).toEqual(['a2'])
})

it('another token is minted before the first ends, once for all who ask, while the first serves on', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  const tokens = rig.hub.users.get(name)?.tokens
  const first = await rig.app.credentials(session)
  rig.clock.time += 2600
  expect(await rig.app.credentials(session)).toEqual(first)
  expect(tokens?.size).toBe(1)
  rig.clock.time += 200
  const meanwhile = await Promise.all([1, 2, 3].map(() => rig.app.credentials(session)))
  expect(meanwhile).toEqual([first, first, first])
  await until(() => tokens?.has('a1') === false)
  expect([...(tokens?.keys() ?? [])]).toEqual(['a2'])
  expect(await rig.app.credentials(session)).toEqual({ authorization: `token ${tokens?.get('a2')?.token}` })
})

it('a token that another process has minted is injected from then on', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  await rig.app.credentials(session)
  rig.clock.time += 2800
  await rig.reopen().credentials(session)
  const tokens = rig.hub.users.get(name)?.tokens
  await until(() => tokens?.has('a1') === false)
  expect(await rig.app.credentials(session)).toEqual({ authorization: `token ${tokens?.get('a2')?.token}` })
})

it('a tab that slept until the token had ended waits for the next one', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  rig.clock.time += 7200
  const credentials = await rig.app.credentials(session)
  expect(credentials).toEqual({ authorization: `token ${rig.hub.users.get(name)?.tokens.get('a2')?.token}` })
})

it('a hub that does not answer keeps a valid token valid, and is an outage only once the token has ended', async () => {
  const rig = await createRig()
  const { session } = await started(rig)
  const first = await rig.app.credentials(session)
  await rig.hub.close()
  rig.clock.time += 3500
  expect(await rig.app.credentials(session)).toEqual(first)
  rig.clock.time += 200
  await expect(rig.app.credentials(session)).rejects.toMatchObject({ status: 503, reason: 'hub_unavailable' })
})

it('a hub that has forgotten the user leaves no credentials, so that the server is started anew', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  rig.hub.users.delete(name)
  rig.clock.time += 3700
  expect(await rig.app.credentials(session)).toBeUndefined()
  await rig.app.prepare(session, () => {})
  expect(await rig.app.credentials(session)).toBeDefined()
})

it('a failure to delete the former token does not fail the start', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  rig.hub.plan(`DELETE /users/${name}/tokens/a1`, { status: 503 })
  expect(await rig.app.prepare(session, () => {})).toContain(name)
})

it('a hub that gives an id again keeps the new token', async () => {
  const rig = await createRig()
  const { session, name } = await started(rig)
  rig.hub.plan(`POST /users/${name}/tokens`, { status: 201, body: { id: 'a1', token: 'another-token' } })
  await rig.app.prepare(session, () => {})
  expect(rig.hub.said()).not.toContain(`DELETE /users/${name}/tokens/a1`)
  expect(await rig.app.credentials(session)).toEqual({ authorization: 'token another-token' })
})
