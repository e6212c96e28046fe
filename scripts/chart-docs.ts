/** Makes the chart's README.md from README.md.gotmpl and the comments in values.yaml, with helm-docs. */
import { join } from 'node:path'
import { helmDocs, must, ROOT } from '../test/chart/tools.ts'

await must(await helmDocs(), ['--log-level', 'error', '--chart-search-root', join(ROOT, 'charts')])
