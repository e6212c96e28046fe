import { readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { appKinds } from '../../../src/apps/registry.ts'
import { loadConfig } from '../../../src/config/load.ts'

const examples = readdirSync('config/examples').filter((name) => name.endsWith('.yaml'))

it.each(['config/gateway.yaml', ...examples.map((name) => `config/examples/${name}`)])(
  '%s is right as it is',
  (file) => {
    expect(loadConfig(file, { kinds: appKinds, env: {} })).toEqual({ config: expect.anything(), warnings: [] })
  },
)
