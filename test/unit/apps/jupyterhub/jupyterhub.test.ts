import { describe, expect, it } from 'vitest'
import { jupyterhub } from '../../../../src/apps/jupyterhub/jupyterhub.ts'
import { createFields } from '../../../../src/config/schema.ts'
import { Secret } from '../../../../src/core/secret.ts'
import { createRig } from './rig.ts'

const NAME = `ocm-${'0123456789'.repeat(2)}`

describe('paths', () => {
  it.each([
    { path: `/jupyter/user/${NAME}/`, scope: `/jupyter/user/${NAME}/` },
    { path: `/jupyter/user/${NAME}/lab/tree/x`, scope: `/jupyter/user/${NAME}/` },
    { path: `/jupyter/user/${NAME}`, scope: undefined },
    { path: `/jupyter/user/${NAME}0/lab`, scope: undefined },
    { path: `/jupyter/user/${NAME.toUpperCase()}/lab`, scope: undefined },
    { path: `/jupyter/user//${NAME}/lab`, scope: undefined },
    { path: '/jupyter/user/alice/lab', scope: undefined },
    { path: '/jupyter/user/', scope: undefined },
    { path: '/jupyter/hub/home', scope: undefined },
    { path: '/jupyter/hub/api/users', scope: undefined },
    { path: '/jupyter/', scope: undefined },
    { path: `/user/${NAME}/lab`, scope: undefined },
  ])('$path belongs to $scope', async ({ path, scope }) => {
    const { app } = await createRig()
    expect(app.scopeOf(path)).toBe(scope)
    expect(app.mount(`/jupyter/user/${NAME}/`)).toEqual({
      public: `/jupyter/user/${NAME}/`,
      upstream: `/jupyter/user/${NAME}/`,
    })
  })

  it.each([
    { path: '/jupyter/hub/logo', open: true },
    { path: '/jupyter/hub/static/css/style.min.css', open: true },
    { path: '/jupyter/hub/static/', open: false },
    { path: '/jupyter/hub/static/../api/users', open: false },
    { path: '/jupyter/hub/static/%2e%2e/api/users', open: false },
    { path: '/jupyter/hub/static/..%2fapi', open: false },
    { path: '/jupyter/hub/static//x.js', open: false },
    { path: '/jupyter/hub/logout', open: false },
    { path: '/jupyter/hub/api', open: false },
    { path: `/jupyter/user/${NAME}/static/x.js`, open: false },
    { path: '/hub/logo', open: false },
  ])('$path needs no session: $open', async ({ path, open }) => {
    const { app } = await createRig()
    expect(app.isPublic(path)).toBe(open)
  })
})

it('what the browser could say in place of the injected token never reaches the server', async () => {
  const { app } = await createRig()
  expect(app.forwarding).toMatchObject({
    cookies: false,
    dropRequestHeaders: ['authorization'],
    dropQuery: ['token'],
    endedLocations: ['/jupyter/hub/'],
  })
  expect(app.forwarding.dropResponseHeaders).toContain('access-control-allow-origin')
})

it('a refused path is refused in every session', async () => {
  const rig = await createRig()
  const session = { grant: { senderDomain: 's', shareId: '1', user: 'b@r', instance: 'i' } } as never
  expect(() => rig.app.authorize(session, { method: 'GET', path: 'logout', upgrade: false })).toThrow(/not served/)
})

describe('options', () => {
  const schema = jupyterhub.options(createFields({ baseDir: '/', readSecret: () => new Secret('s') }))

  it('need the token file only', () => {
    expect(schema.parse({ apiTokenFile: 'token' })).toMatchObject({
      landing: 'lab',
      content: 'webdav',
      contentLimits: { bytes: 1024 ** 3, entries: 10_000, time: 1800 },
      keepUnsaved: 604_800,
      startTimeout: 300,
      stopWhenIdle: 3600,
      serverOptions: {},
    })
  })

  it.each([
    { wrong: { content: 'nfs' }, message: /must be webdav or none/ },
    { wrong: { contentLimits: { bytes: '1GB' } }, message: /must be a size such as/ },
    {
      wrong: { serverOptions: { a: ['{shareID}'] } },
      message: /unknown placeholder {shareID} \(known: {shareId} {owner}/,
    },
    { wrong: { stopWhenIdle: '0s' }, message: /must be longer than 0s/ },
    { wrong: { apiUrl: 'hub:8081' }, message: /must be an http:\/\/ or https:\/\/ URL/ },
  ])('say what is right instead of $wrong', ({ wrong, message }) => {
    const { error } = schema.safeParse({ apiTokenFile: 'token', ...wrong })
    expect(error?.issues.map((issue) => issue.message).join()).toMatch(message)
  })
})
