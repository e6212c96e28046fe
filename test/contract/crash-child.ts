import { writeSync } from 'node:fs'
import { systemClock } from '../../src/core/time.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'

/**
 * Stores, replaces, revokes and makes anew one share after the other, until it is killed. Each operation is one line on
 * stdout, written after its promise resolved: `<answer> <shareId> <created>`. Usage: crash-child.ts <file> <run>
 */
const [file = '', run = ''] = process.argv.slice(2)
const senderDomain = 'cloud.example.org'
const limit = Number.POSITIVE_INFINITY
const store = openSqliteStore(file, { now: systemClock })

async function put(shareId: string, created: number) {
  const data = JSON.stringify({ created, text: 'x'.repeat(500) })
  const row = { state: 'live', senderDomain, shareId, instance: shareId, created, expiresAt: undefined, data } as const
  return await store.shares.put(row, { created, signature: `put ${created}` }, { limit })
}

async function revoke(shareId: string, created: number) {
  const request = { created, signature: `revoke ${created}` }
  return await store.shares.revoke({ senderDomain, shareId }, request, { now: created, keepUntil: limit, limit })
}

for (let index = 0; ; index++) {
  const shareId = `${run}-${index}`
  const steps = [put, put, revoke, put].slice(0, 1 + (index % 4))
  for (const [created, step] of steps.entries()) {
    const answer = await step(shareId, created)
    writeSync(1, `${answer} ${shareId} ${created}\n`)
  }
}
