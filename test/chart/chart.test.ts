import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import {
  CHART,
  configurationOf,
  INSTALLATIONS,
  lint,
  only,
  podOf,
  REDIS,
  refusal,
  render,
  SMALL,
  template,
} from './rendering.ts'
import { helm, helmDocs, must, ROOT } from './tools.ts'

beforeAll(helm)

describe('every installation in ci/', () => {
  it.each(INSTALLATIONS)('$name passes helm lint --strict', async ({ file }) => {
    expect(await lint(file)).toContain('0 chart(s) failed')
  })

  it.each(INSTALLATIONS)('$name renders to the same bytes twice', async ({ file }) => {
    const [once, again] = await Promise.all([template(file), template(file)])
    expect(once.code).toBe(0)
    expect(again.stdout).toBe(once.stdout)
  })

  it.each(INSTALLATIONS)('$name keeps to the Pod Security Standard restricted', async ({ file }) => {
    const { spec } = podOf(await render(file))
    expect(spec).toMatchObject({
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    })
    for (const { securityContext } of [...spec.containers, ...(spec.initContainers ?? [])]) {
      expect(securityContext).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } })
    }
    expect(spec.containers[0].securityContext.readOnlyRootFilesystem).toBe(true)
    for (const volume of spec.volumes) expect(Object.keys(volume)).not.toContain('hostPath')
  })
})

describe('what cannot work is refused', () => {
  const rules = {
    'no public URL': [{ config: { server: { publicUrl: '' } } }, 'config.server.publicUrl is missing'],
    'no OCM server': [{ config: { ocmServers: { 'cloud.example.org': null } } }, 'config.ocmServers is empty'],
    'no webapp': [{ config: { webapps: { app: null } } }, 'config.webapps is empty'],
    'several pods over SQLite': [{ replicaCount: 2 }, 'replicaCount 2 needs Redis (config.store is sqlite:'],
    'several pods without a common store': [
      { replicaCount: 2, config: { store: 'memory:' } },
      'replicaCount 2 needs Redis (config.store is memory:',
    ],
    'autoscaling over SQLite': [{ autoscaling: { enabled: true } }, 'autoscaling.enabled needs Redis'],
    'Redis without a common signing key': [
      { config: { store: 'redis://redis/0' } },
      'config.server.signingKeyFile is missing (with Redis all pods sign with one key',
    ],
    'a password in the ConfigMap': [
      { config: { ...REDIS.config, store: 'redis://:hunter2@redis/0' } },
      'config.store has a password in it',
    ],
    'two sources of one secret': [
      { config: { server: { signingKeyFile: { existingSecret: 'keys', key: 'a', value: '{}' } } } },
      'config.server.signingKeyFile has two sources: existingSecret and value',
    ],
    'a Secret without a key': [
      { config: { server: { signingKeyFile: { existingSecret: 'keys' } } } },
      'config.server.signingKeyFile names the Secret keys without a key',
    ],
    'a secret without a source': [
      { config: { server: { signingKeyFile: { value: '' } } } },
      'config.server.signingKeyFile is empty',
    ],
    'less grace than draining takes': [
      { terminationGracePeriodSeconds: 15 },
      'terminationGracePeriodSeconds is 15 (must be more than 15',
    ],
    'less grace than a longer drain takes': [
      { config: { server: { drainDelay: '1500ms', drainTimeout: '1m' } } },
      'terminationGracePeriodSeconds is 30 (must be more than 66',
    ],
    'a route to nowhere': [{ httpRoute: { enabled: true } }, 'httpRoute.parentRefs is empty'],
    'an unknown key of the program': [
      { config: { server: { publicURL: 'x' } } },
      "additional properties 'publicURL' not allowed",
    ],
    'an unknown key of a webapp’s kind': [
      { config: { webapps: { app: { generic: { stripPaht: true } } } } },
      "additional properties 'stripPaht' not allowed",
    ],
    'an unknown kind': [{ config: { webapps: { app: { kind: 'word' } } } }, 'value must be one of'],
    'an unknown key of the chart': [{ replicas: 2 }, "additional properties 'replicas' not allowed"],
  } satisfies Record<string, [object, string]>

  it.each(Object.entries(rules))('%s', async (_, [values, message]) => {
    expect(await refusal(SMALL, values)).toContain(message)
  })
})

describe('the configuration', () => {
  it('is the program’s: webapps and OCM servers become lists, whatever file they come from', async () => {
    const more = {
      config: {
        ocmServers: { 'other.example.org:8443': { modes: ['self-contained'] } },
        webapps: { app: { upstream: 'http://elsewhere:8080/' } },
      },
    }
    const { config } = configurationOf(await render(SMALL, more))
    expect(config).toEqual({
      server: {
        publicUrl: 'https://apps.example.org',
        listen: '0.0.0.0:8080',
        adminListen: '0.0.0.0:9090',
        trustedProxies: [],
        signingKeyFile: '/data/signing-key.json',
      },
      store: 'sqlite:/data/gateway.db',
      sessions: {},
      ocmServers: [{ domain: 'cloud.example.org' }, { domain: 'other.example.org:8443', modes: ['self-contained'] }],
      webapps: [{ name: 'app', ...SMALL.config.webapps.app, upstream: 'http://elsewhere:8080/' }],
    })
  })

  it('keeps whole numbers whole', async () => {
    const { text } = configurationOf(
      await render(SMALL, { config: { ocmServers: { 'cloud.example.org': { limits: { shares: 100_000_000 } } } } }),
    )
    expect(text).toContain('shares: 100000000\n')
  })

  it('names secrets by the path where they are mounted, readable for the pod’s group only', async () => {
    const manifests = await render(SMALL, REDIS)
    expect(configurationOf(manifests).config).toMatchObject({
      server: { signingKeyFile: '/run/secrets/ocm-gateway/keys/signing-key.json' },
      storePasswordFile: '/run/secrets/ocm-gateway/redis/password',
    })
    const { spec, container } = podOf(manifests)
    expect(spec.volumes).toContainEqual({
      name: 'secrets',
      projected: {
        defaultMode: 0o440,
        sources: [
          { secret: { name: 'keys', items: [{ key: 'signing-key.json', path: 'keys/signing-key.json' }] } },
          { secret: { name: 'redis', items: [{ key: 'password', path: 'redis/password' }] } },
        ],
      },
    })
    expect(container.volumeMounts).toContainEqual({
      name: 'secrets',
      mountPath: '/run/secrets/ocm-gateway',
      readOnly: true,
    })
  })

  it('puts texts into a Secret, never into the ConfigMap', async () => {
    const clientSecretFile = { value: 'not for everybody' }
    const introspection = { url: 'https://cloud.example.org/i', auth: 'bearer', clientSecretFile }
    const manifests = await render(SMALL, { config: { ocmServers: { 'cloud.example.org': { introspection } } } })
    const { text } = configurationOf(manifests)
    expect(text).not.toContain('not for everybody')
    const key = 'ocmServers.cloud.example.org.introspection.clientSecretFile'
    expect(only(manifests, 'Secret').data).toEqual({ [key]: Buffer.from('not for everybody').toString('base64') })
    expect(text).toContain(`clientSecretFile: /run/secrets/ocm-gateway/gw-ocm-webapp-gateway/${key}\n`)
  })

  it.each([
    ['the configuration', { config: { sessions: { maxAge: '9h' } } }, 'checksum/config'],
    ['a secret', { config: { server: { signingKeyFile: { value: 'another' } } } }, 'checksum/secret'],
  ])('a change of %s restarts the pods, unless that is turned off', async (_, change, checksum) => {
    const before = { config: { server: { signingKeyFile: { value: 'one' } } } }
    const checksums = async (...values: object[]) => podOf(await render(SMALL, before, ...values)).metadata.annotations
    expect((await checksums(change))[checksum]).not.toBe((await checksums())[checksum])
    expect(await checksums(change, { restartOnConfigChange: false })).toBeUndefined()
  })
})

describe('one pod over SQLite', () => {
  it('has the database and the key on a volume that outlives the release', async () => {
    const manifests = await render(SMALL)
    const claim = only(manifests, 'PersistentVolumeClaim')
    expect(claim.metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' })
    expect(podOf(manifests).spec.volumes).toContainEqual({
      name: 'data',
      persistentVolumeClaim: { claimName: claim.metadata.name },
    })
  })

  it('ends before the next one starts', async () => {
    expect(only(await render(SMALL), 'Deployment').spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } })
  })

  it('has no disruption budget, which would keep its node from being drained', async () => {
    expect((await render(SMALL)).map(({ kind }) => kind)).not.toContain('PodDisruptionBudget')
  })

  it('takes a claim that exists, or none', async () => {
    const existing = await render(SMALL, { persistence: { existingClaim: 'mine' } })
    expect(existing.map(({ kind }) => kind)).not.toContain('PersistentVolumeClaim')
    expect(podOf(existing).spec.volumes).toContainEqual({ name: 'data', persistentVolumeClaim: { claimName: 'mine' } })
    const none = await render(SMALL, { persistence: { enabled: false } })
    expect(podOf(none).spec.volumes).toContainEqual({ name: 'data', emptyDir: {} })
  })
})

describe('several pods over Redis', () => {
  it('are replaced without a gap, spread, and kept during maintenance', async () => {
    const manifests = await render(SMALL, REDIS, { replicaCount: 3 })
    expect(only(manifests, 'Deployment').spec).toMatchObject({
      replicas: 3,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    })
    const { topologySpreadConstraints, volumes } = podOf(manifests).spec
    expect(topologySpreadConstraints.map(({ topologyKey }: { topologyKey: string }) => topologyKey)).toEqual([
      'kubernetes.io/hostname',
      'topology.kubernetes.io/zone',
    ])
    expect(volumes.map(({ name }: { name: string }) => name)).not.toContain('data')
    expect(only(manifests, 'PodDisruptionBudget').spec.maxUnavailable).toBe(1)
  })

  it('are as many as the autoscaler says', async () => {
    const manifests = await render(SMALL, REDIS, { autoscaling: { enabled: true } })
    expect(only(manifests, 'Deployment').spec).not.toHaveProperty('replicas')
    expect(only(manifests, 'HorizontalPodAutoscaler').spec.scaleTargetRef.name).toBe('gw-ocm-webapp-gateway')
  })
})

describe('who reaches what', () => {
  it('ports follow the configuration', async () => {
    const listeners = { listen: '[::]:8443', adminListen: '0.0.0.0:9191' }
    const manifests = await render(SMALL, { config: { server: listeners } })
    const ports = podOf(manifests).container.ports.map(({ name, containerPort }: Record<string, unknown>) => [
      name,
      containerPort,
    ])
    expect(ports).toEqual([
      ['http', 8443],
      ['admin', 9191],
    ])
    const [open, monitoring] = only(manifests, 'NetworkPolicy').spec.ingress
    expect(open).toEqual({ ports: [{ port: 8443, protocol: 'TCP' }] })
    expect(monitoring.ports).toEqual([{ port: 9191, protocol: 'TCP' }])
    expect(monitoring.from).toHaveLength(1)
  })

  it('where only some may come in, helm test may too', async () => {
    const from = [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'ingress-nginx' } } }]
    const manifests = await render(SMALL, { networkPolicy: { from } })
    const [open] = only(manifests, 'NetworkPolicy').spec.ingress
    const { matchLabels } = open.from[1].podSelector
    expect(open.from).toEqual([...from, { podSelector: { matchLabels } }])
    expect(only(manifests, 'Pod').metadata.labels).toMatchObject(matchLabels)
    expect(podOf(manifests).metadata.labels).not.toMatchObject(matchLabels)
  })

  it('the public Service does not lead to the admin listener', async () => {
    const { ports } = only(await render(SMALL), 'Service', 'gw-ocm-webapp-gateway').spec
    expect(ports.map(({ targetPort }: { targetPort: string }) => targetPort)).toEqual(['http'])
  })

  it('egress is what is named, and a rule can be taken away', async () => {
    const { spec } = only(await render(SMALL), 'NetworkPolicy')
    expect(spec.policyTypes).toEqual(['Ingress', 'Egress'])
    expect(spec.egress).toHaveLength(3)
    const less = await render(SMALL, { networkPolicy: { egress: { dns: null, clouds: null, namespace: null } } })
    expect(only(less, 'NetworkPolicy').spec.egress).toEqual([])
  })

  it('Ingress and HTTPRoute are for the host of every public URL, once', async () => {
    const shared = { kind: 'generic', publicUrl: 'https://app.example.org/more/', upstream: 'http://more/more/' }
    const exposed = {
      config: { webapps: { more: shared } },
      ingress: { enabled: true, tls: [{ secretName: 'tls' }] },
      httpRoute: { enabled: true, parentRefs: [{ name: 'public' }] },
    }
    const manifests = await render(SMALL, exposed)
    const hosts = ['app.example.org', 'apps.example.org']
    const { rules, tls } = only(manifests, 'Ingress').spec
    expect(rules.map(({ host }: { host: string }) => host)).toEqual(hosts)
    expect(tls).toEqual([{ secretName: 'tls', hosts }])
    expect(only(manifests, 'HTTPRoute').spec.hostnames).toEqual(hosts)
  })

  it('with a certificate of its own it is https throughout', async () => {
    const certFile = { existingSecret: 'tls', key: 'tls.crt' }
    const tls = { certFile, keyFile: { ...certFile, key: 'tls.key' } }
    const manifests = await render(SMALL, { config: { server: { tls } }, ingress: { enabled: true } })
    const [port] = only(manifests, 'Service', 'gw-ocm-webapp-gateway').spec.ports
    expect(port).toMatchObject({ name: 'https', port: 443, targetPort: 'https', appProtocol: 'https' })
    const { backend } = only(manifests, 'Ingress').spec.rules[0].http.paths[0]
    expect(backend.service.port).toEqual({ name: 'https' })
  })
})

describe('the end of a pod', () => {
  it('waits until proxies know, then drains, within its grace', async () => {
    const { spec, container } = podOf(await render(SMALL))
    expect(container.lifecycle.preStop).toEqual({ sleep: { seconds: 5 } })
    expect(spec.terminationGracePeriodSeconds).toBe(30)
  })

  it('an outage of the store restarts nobody', async () => {
    const { livenessProbe, readinessProbe } = podOf(await render(SMALL)).container
    expect(livenessProbe.httpGet).toEqual({ path: '/healthz', port: 'admin' })
    expect(readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'admin' })
  })
})

describe('what the operator reads', () => {
  it('the notes tell what to put into the clouds’ settings', async () => {
    const { file = '' } = INSTALLATIONS.find(({ name }) => name === 'jupyterhub') ?? {}
    const args = ['install', 'gw', CHART, '--namespace', 'apps', '--values', file, '--dry-run=client']
    const notes = (await must(await helm(), args)).split('NOTES:')[1]
    expect(notes).toContain('https://apps.example.org/ocm\n')
    expect(notes).toContain('https://apps.example.org/.well-known/jwks.json')
    expect(notes).toContain('notebooks: https://notebooks.example.org/jupyter/.ocm/open')
    expect(notes).toContain('cloud.example.org')
  })

  it('README.md is what helm-docs makes of values.yaml (npm run chart:docs)', async () => {
    const made = await must(await helmDocs(), ['--dry-run', '--log-level', 'error', '--chart-search-root', CHART])
    expect(readFileSync(join(CHART, 'README.md'), 'utf8').trim()).toBe(made.trim())
  })

  it('values.schema.json has the program’s configuration (npm run chart:schema)', async () => {
    const made = await must(process.execPath, [join(ROOT, 'scripts/chart-schema.ts')])
    expect(readFileSync(join(CHART, 'values.schema.json'), 'utf8')).toBe(made)
  })

  it('the guide for Nextcloud and JupyterHub has the values that are tested', () => {
    const { file = '' } = INSTALLATIONS.find(({ name }) => name === 'nextcloud-jupyterhub') ?? {}
    const [, ...values] = readFileSync(file, 'utf8').trim().split('\n')
    expect(readFileSync(join(ROOT, 'docs/deploy-nextcloud-jupyterhub.md'), 'utf8')).toContain(values.join('\n'))
  })

  it('the chart has the version of the program', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    expect(parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')).appVersion).toBe(version)
  })
})
