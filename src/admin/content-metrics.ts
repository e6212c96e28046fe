import { Counter, type Registry } from 'prom-client'

type Fields = Readonly<Record<string, string & number>>

/** Metrics of what goes between apps and the sender’s files: those of JupyterHub’s homes, and documents of WOPI editors. */
export function createContentMetrics(registry: Registry): Record<string, (fields: Fields) => void> {
  const counter = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name: `ocm_gateway_${name}`, help, labelNames, registers: [registry] })

  const filesBrought = counter('content_files_brought_total', 'Files brought into homes', ['webapp'])
  const bytesBrought = counter('content_bytes_brought_total', 'Bytes of files brought into homes', ['webapp'])
  const filesLeftOut = counter('content_files_left_out_total', 'Files that were not brought into homes', ['webapp'])
  const bringFailures = counter('content_bring_failures_total', 'Looks at shared files that failed; homes stay as is', [
    'webapp',
    'reason',
  ])
  const changesSaved = counter('content_changes_saved_total', 'Changes in homes that the sender has now', ['webapp'])
  const saveFailures = counter('content_save_failures_total', 'Attempts to save changes back that failed', ['webapp'])
  const conflicts = counter('content_conflicts_total', 'Files that both sides had changed', ['webapp'])
  const changesKept = counter('content_changes_kept_total', 'Changes kept for the next launch', ['webapp'])
  const changesDropped = counter('content_changes_dropped_total', 'Changes that the sender never got', ['reason'])
  for (const reason of ['revoked', 'too-old']) changesDropped.inc({ reason }, 0)
  const documentsSaved = counter('documents_saved_total', 'Documents saved by editors', ['webapp'])
  const bytesSaved = counter('document_bytes_saved_total', 'Bytes of documents saved by editors', ['webapp'])
  const documentsKept = counter('documents_kept_total', 'Saves of editors kept apart, and where', ['webapp', 'where'])
  const documentsNotKept = counter('documents_not_kept_total', 'Saves of editors that could not be kept', [])
  const wopiRefused = counter('wopi_requests_refused_total', 'Requests of editors that were refused', [
    'operation',
    'reason',
  ])

  return {
    'content.brought': ({ webapp = '', files = 0, bytes = 0, leftOut = 0 }) => {
      filesBrought.inc({ webapp }, files)
      bytesBrought.inc({ webapp }, bytes)
      filesLeftOut.inc({ webapp }, leftOut)
    },
    'content.stale': ({ webapp = '', reason = '' }) => bringFailures.inc({ webapp, reason }),
    'content.saved': ({ webapp = '', changes = 0 }) => changesSaved.inc({ webapp }, changes),
    'content.waiting': ({ webapp = '' }) => saveFailures.inc({ webapp }),
    'content.conflict': ({ webapp = '' }) => conflicts.inc({ webapp }),
    'content.kept': ({ webapp = '', changes = 0 }) => changesKept.inc({ webapp }, changes),
    'content.dropped': ({ reason = '', changes = 0 }) => changesDropped.inc({ reason }, changes),
    'document.saved': ({ webapp = '', bytes = 0 }) => {
      documentsSaved.inc({ webapp })
      bytesSaved.inc({ webapp }, bytes)
    },
    'document.kept': ({ webapp = '', where = '' }) => documentsKept.inc({ webapp, where }),
    'document.not-kept': () => documentsNotKept.inc(),
    'wopi.refused': ({ operation = '', reason = '' }) => wopiRefused.inc({ operation, reason }),
  }
}
