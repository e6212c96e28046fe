import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../../src/demo/listen.ts'
import { until } from '../flow/until.ts'
import { must, pythonTool, ROOT, run } from './tools.ts'

/** Who the image runs as; only root can become somebody else. */
const USER = process.getuid?.() === 0 ? { uid: 65532, gid: 65532 } : {}

const NODE = process.execPath
const PACKAGE = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

interface Instruction {
  readonly keyword: string
  readonly rest: string
}

const DOCKERFILE: readonly Instruction[] = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  .replaceAll(/^\s*#.*\n/gm, '')
  .replaceAll(/\\\n\s*/g, '')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [keyword = '', ...rest] = line.trim().split(' ')
    return { keyword, rest: rest.join(' ') }
  })

const all = (keyword: string) => DOCKERFILE.filter((each) => each.keyword === keyword).map(({ rest }) => rest)
const last = (keyword: string) => all(keyword).at(-1) ?? ''

/** A folder with what `.dockerignore` lets the builder see. */
function buildContext(): string {
  const [nothing, ...allowed] = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  expect(nothing, 'the first rule of .dockerignore').toBe('*')
  const folder = mkdtempSync(join(tmpdir(), 'context-'))
  for (const rule of allowed) {
    expect(rule, 'a rule of .dockerignore').toMatch(/^!/)
    cpSync(join(ROOT, rule.slice(1)), join(folder, rule.slice(1)), { recursive: true })
  }
  return folder
}

/**
 * The steps of the Dockerfile, carried out in folders instead of images: each stage a folder that stands for its root.
 *
 * Does NOT know what the base images bring, nor instructions that the Dockerfile does not have.
 *
 * @returns the folder of the last stage
 */
async function build(): Promise<string> {
  const context = buildContext()
  const stages = new Map<string, string>()
  let root = ''
  let workdir = '/'
  const inStage = (path: string, base = root) => join(base, path.startsWith('/') ? path : join(workdir, path))
  const steps: Record<string, (rest: string) => Promise<unknown> | unknown> = {
    FROM(rest) {
      root = mkdtempSync(join(tmpdir(), 'stage-'))
      chmodSync(root, 0o755)
      const [, name = ''] = / AS (\S+)/.exec(rest) ?? []
      stages.set(name, root)
    },
    WORKDIR(path) {
      workdir = path
      mkdirSync(inStage(path), { recursive: true })
    },
    COPY(rest) {
      const [, from] = /--from=(\S+)/.exec(rest) ?? []
      const paths = rest.split(' ').filter((word) => !word.startsWith('--'))
      const target = paths.pop() ?? ''
      for (const path of paths) {
        const source = from === undefined ? join(context, path) : inStage(path, stages.get(from))
        const to = target.endsWith('/') ? join(target, path.split('/').at(-1) ?? '') : target
        cpSync(source, inStage(to), { recursive: true, verbatimSymlinks: true })
      }
    },
    async RUN(command) {
      const env = { PATH: `${dirname(NODE)}:${process.env.PATH}`, NODE_ENV: '' }
      await must('sh', ['-euc', command], { cwd: inStage(workdir), env })
    },
  }
  for (const { keyword, rest } of DOCKERFILE) await steps[keyword]?.(rest)
  rmSync(context, { recursive: true })
  rmSync(stages.get('build') ?? '', { recursive: true })
  return root
}

/** Every file and its content, in one number. */
function digestOf(folder: string): string {
  const hash = createHash('sha256')
  const files = globSync('**', { cwd: folder, withFileTypes: true }).filter((entry) => entry.isFile())
  for (const file of files.map(({ parentPath, name }) => join(parentPath, name)).sort()) {
    hash.update(file.slice(folder.length)).update('\0').update(readFileSync(file))
  }
  return hash.digest('hex')
}

describe('the Dockerfile', () => {
  it('passes hadolint', async () => {
    const { code, stdout } = await run(await pythonTool('hadolint'), [join(ROOT, 'Dockerfile')])
    expect(stdout).toBe('')
    expect(code).toBe(0)
  })

  it('is made from images named by digest, with the Node.js that everything is tested with', () => {
    const images = all('ARG').filter((argument) => argument.includes('_IMAGE='))
    expect(images).toHaveLength(2)
    for (const image of images) expect(image).toMatch(/@sha256:[0-9a-f]{64}$/)
    expect(images[0]).toContain(`=node:${PACKAGE.devDependencies.node}-`)
    expect(all('FROM').map((rest) => rest.split(' ').find((word) => word.startsWith('${')))).toEqual([
      // biome-ignore-start lint/suspicious/noTemplateCurlyInString: Docker's variables
      '${NODE_IMAGE}',
      '${RUNTIME_IMAGE}',
      // biome-ignore-end lint/suspicious/noTemplateCurlyInString: Docker's variables
    ])
  })

  it('ends in a non-root user by number, one volume, no shell', () => {
    expect(last('USER')).toBe('65532:65532')
    expect(all('VOLUME')).toEqual(['/data'])
    for (const keyword of ['ENTRYPOINT', 'CMD']) expect(JSON.parse(last(keyword))).toBeInstanceOf(Array)
    expect(last('HEALTHCHECK')).toContain('CMD ["/nodejs/bin/node"')
  })

  it('is labelled with the version of the program', () => {
    expect(all('ARG')).toContain(`VERSION=${PACKAGE.version}`)
    expect(last('LABEL')).toContain(`org.opencontainers.image.licenses="${PACKAGE.license}"`)
    expect(last('LABEL')).not.toContain('created')
  })
})

describe('what is in the image', () => {
  let root: string

  beforeAll(async () => {
    root = await build()
  })
  afterAll(() => rmSync(root, { recursive: true }))

  it('is the program and what it depends on, nothing else', () => {
    expect(globSync('*', { cwd: root })).toEqual(expect.arrayContaining(['app', 'data']))
    expect(globSync('*', { cwd: join(root, 'app') }).sort()).toEqual([
      'LICENSE',
      'dist',
      'node_modules',
      'package.json',
    ])
    const installed = (name: string) => existsSync(join(root, 'app/node_modules', name))
    expect(Object.keys(PACKAGE.dependencies).filter((name) => !installed(name))).toEqual([])
    expect(Object.keys(PACKAGE.devDependencies).filter(installed)).toEqual([])
    expect(installed('npm')).toBe(false)
  })

  it('is the same for every platform: no compiled code', () => {
    expect(globSync('app/**/*.{node,so,wasm}', { cwd: root })).toEqual([])
  })

  it('is the same when it is made again', async () => {
    const again = await build()
    expect(digestOf(again)).toBe(digestOf(root))
    rmSync(again, { recursive: true })
  })

  it('checks and serves a configuration, as somebody who may write to /data only', async () => {
    const before = digestOf(join(root, 'app'))
    const config = await configuration(root)
    const checked = await ended(start(root, ['check', '--config', config]))
    expect(checked).toEqual({ code: 0, output: '' })

    const gateway = start(root, ['serve', '--config', config])
    const { adminUrl } = await listening(gateway)
    expect(await healthcheck(adminUrl)).toBe(0)
    gateway.child.kill('SIGTERM')
    expect((await ended(gateway)).code).toBe(0)
    expect(await healthcheck(adminUrl)).toBe(1)
    expect(digestOf(join(root, 'app'))).toBe(before)
    expect(existsSync(join(root, 'data/signing-key.json'))).toBe(true)
  })
})

/** What an operator mounts at /etc/ocm-gateway. @returns the path */
async function configuration(root: string): Promise<string> {
  const file = join(root, 'gateway.yaml')
  const data = join(root, 'data')
  const server = {
    publicUrl: 'https://apps.example.org',
    listen: '127.0.0.1:0',
    adminListen: `127.0.0.1:${await freePort()}`,
    signingKeyFile: join(data, 'signing-key.json'),
  }
  const app = { name: 'app', kind: 'generic', publicUrl: 'https://app.example.org/', upstream: 'http://127.0.0.1:9/' }
  const ocmServers = [{ domain: 'cloud.example.org' }]
  writeFileSync(file, JSON.stringify({ server, store: `sqlite:${data}/gateway.db`, ocmServers, webapps: [app] }))
  // What --chown and USER do.
  if (USER.uid !== undefined) await must('chown', ['-R', `${USER.uid}:${USER.gid}`, data])
  return file
}

/** The image's entry point, with this machine's node in the place of the image's. */
function start(root: string, args: readonly string[]) {
  const [node, ...entry] = JSON.parse(last('ENTRYPOINT')) as string[]
  expect(node).toBe('/nodejs/bin/node')
  const env = { NODE_ENV: 'production', PATH: '/nowhere' }
  const cwd = join(root, last('WORKDIR'))
  const child = spawn(NODE, [...entry, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], ...USER })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const closed = once(child, 'close')
  return { child, closed, output: () => output, gone: () => child.exitCode !== null }
}

/** Its first word. @throws {Error} with what it said instead */
async function listening(gateway: ReturnType<typeof start>): Promise<{ adminUrl: string }> {
  const line = await until(
    'the gateway listens',
    () => {
      if (gateway.gone()) throw new Error(`the gateway did not start:\n${gateway.output()}`)
      return gateway
        .output()
        .split('\n')
        .find((each) => each.includes('"event":"listening"'))
    },
    30,
  )
  return JSON.parse(line)
}

async function ended({ closed, output }: ReturnType<typeof start>) {
  const [code] = await closed
  return { code, output: output() }
}

/** The image's own health check against that listener. @returns its exit code */
async function healthcheck(adminUrl: string): Promise<number> {
  const [, command = ''] = /CMD (\[.*\])$/.exec(last('HEALTHCHECK')) ?? []
  const [, ...args] = JSON.parse(command) as string[]
  return (await run(NODE, args, { env: { HEALTH_URL: `${adminUrl}/healthz` } })).code
}
