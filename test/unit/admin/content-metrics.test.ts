import { expect, it } from 'vitest'
import { createMetrics } from '../../../src/admin/metrics.ts'
import { createEvents, createLog } from '../../../src/core/events.ts'

it('counts what goes between apps and the sender’s files, and names no person, share or file', async () => {
  const events = createEvents(createLog({ level: 'silent' }))
  const registry = createMetrics(events, { sessions: async () => [], shares: async () => [] })
  const home = { webapp: 'notebooks', name: 'ocm-0123' }
  const share = { webapp: 'office', senderDomain: 'cloud.example.org', shareId: 'share-7', session: 's', document: 'd' }
  const document = { ...share, user: 'bob@example.org', owner: 'alice@cloud.example.org', requestId: 'r' }
  events.contentBrought({ ...home, files: 12, bytes: 3456, leftOut: 2, seconds: 1 })
  events.contentStale({ ...home, reason: 'content_unreachable', message: 'm' })
  events.contentSaved({ ...home, changes: 3 })
  events.contentWaiting({ ...home, message: 'm' })
  events.contentConflict(home)
  events.contentKept({ ...home, changes: 4, until: 1 })
  events.contentDropped({ ...home, changes: 5, reason: 'too-old' })
  events.documentSaved({ ...document, bytes: 789, seconds: 1 })
  events.documentSaved({ ...document, bytes: undefined, seconds: 1 })
  events.documentKept({ ...document, reason: 'changed', bytes: 1, where: 'beside' })
  events.documentNotKept({ ...document, reason: 'changed', message: 'm' })
  events.wopiRefused({ ...document, operation: 'PutFile', reason: 'lock_mismatch', status: 409 })

  const lines = (await registry.metrics())
    .split('\n')
    .filter((line) => /^ocm_gateway_(content|document|wopi)/.test(line))
  expect(lines.map((line) => line.replace('ocm_gateway_', '')).toSorted()).toEqual([
    'content_bring_failures_total{webapp="notebooks",reason="content_unreachable"} 1',
    'content_bytes_brought_total{webapp="notebooks"} 3456',
    'content_changes_dropped_total{reason="revoked"} 0',
    'content_changes_dropped_total{reason="too-old"} 5',
    'content_changes_kept_total{webapp="notebooks"} 4',
    'content_changes_saved_total{webapp="notebooks"} 3',
    'content_conflicts_total{webapp="notebooks"} 1',
    'content_files_brought_total{webapp="notebooks"} 12',
    'content_files_left_out_total{webapp="notebooks"} 2',
    'content_save_failures_total{webapp="notebooks"} 1',
    'document_bytes_saved_total{webapp="office"} 789',
    'documents_kept_total{webapp="office",where="beside"} 1',
    'documents_not_kept_total 1',
    'documents_saved_total{webapp="office"} 2',
    'wopi_requests_refused_total{operation="PutFile",reason="lock_mismatch"} 1',
  ])
})
