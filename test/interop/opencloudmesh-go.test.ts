import { afterAll, describe, expect, it } from 'vitest'
import { outcomeOf } from '../unit/fixtures.ts'
import { OPENCLOUDMESH_GO, startOpenCloudMeshGo } from './opencloudmesh-go.ts'
import { type Received, startOurSide } from './our-side.ts'
import { usePeer } from './peers.ts'

const us = await startOurSide()
afterAll(() => us.stop())

const peer = usePeer(`opencloudmesh-go ${OPENCLOUDMESH_GO}`, startOpenCloudMeshGo)

describe('the keys of opencloudmesh-go', () => {
  it('are found through its discovery document, under the whole kid', async () => {
    const key = await us.keyOf(peer().authority, `${peer().authority}#key1`)
    expect(key).toMatchObject({ kid: `${peer().authority}#key1`, kind: 'Ed25519', alg: 'EdDSA' })
  })

  it('are not found under the part after the #', async () => {
    expect(await outcomeOf(() => us.keyOf(peer().authority, 'key1'))).toBe('401 key_unknown')
  })
})

describe('a share that opencloudmesh-go sends', () => {
  const sent = async (): Promise<Received> => {
    const answer = await peer().share(`bob@${us.authority}`, us.authority)
    expect(answer, answer.text).toMatchObject({ status: 201 })
    return us.received.at(-1) as Received
  }

  it('carries a signature that verifies with its published key', async () => {
    const verified = await us.verify(await sent(), peer().authority)
    expect(verified).toMatchObject({ keyid: `${peer().authority}#key1`, untagged: false })
  })

  it('no longer verifies with another body, at another address, or as of another sender', async () => {
    const { message, body } = await sent()
    const elsewhere = { ...message, targetUri: `${us.url}/ocm/revoke` }
    const { authority } = peer()
    const outcomes = [
      await outcomeOf(() =>
        us.verify({ message, body: Buffer.from(body.toString().replace('bob', 'eve')) }, authority),
      ),
      await outcomeOf(() => us.verify({ message: elsewhere, body }, authority)),
      await outcomeOf(() => us.verify({ message, body }, 'cloud.example.org')),
    ]
    expect(outcomes).toEqual(['401 digest_mismatch', '401 signature_invalid', '401 signature_keyid'])
  })
})

describe('a share that we send to opencloudmesh-go', () => {
  const notification = (providerId: string) =>
    JSON.stringify({
      shareWith: peer().user,
      name: 'notes.txt',
      providerId,
      owner: `alice@${us.authority}`,
      sender: `alice@${us.authority}`,
      shareType: 'user',
      resourceType: 'file',
      protocol: {
        name: 'webdav',
        webdav: { uri: 'notes', sharedSecret: 'secret', permissions: ['read'], requirements: ['must-exchange-token'] },
      },
    })

  it('is accepted: it verifies our signature with the key that we publish', async () => {
    const answer = await us.post(`${peer().url}/ocm/shares`, notification('1'))
    expect(answer, answer.text).toMatchObject({ status: 201 })
  })

  it('is refused when the body is another one than we signed', async () => {
    const changed = notification('2').replace('"read"', '"writ"')
    const { status } = await us.post(`${peer().url}/ocm/shares`, notification('2'), changed)
    expect([400, 401]).toContain(status)
  })
})
