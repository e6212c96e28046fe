import { showNumber } from './figures.ts'
import { type Report, titleOf, type WorkloadReport } from './report.ts'
import { workloadOf } from './workloads.ts'

const WIDTH = 760
const LABELS = 190
const BARS = 440
const ROW = 24
const BAR = 14
const TITLE = 44
/** Workloads whose unit is a request through a session check, where there is one. */
const SHOWN = ['1k', '100k', 'echo']

/** Readable on light and on dark, since an SVG in a page knows which one its reader prefers. */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .open { fill: #8c959f } .session { fill: #54aeff } .ours { fill: #1f883d } .beside { fill-opacity: 0.45 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .open { fill: #6e7681 } .session { fill: #388bfd } .ours { fill: #3fb950 }
  }`

/** CPU time per unit of every proxy as horizontal bars, one group for each workload. */
export function chartOf(report: Report): string {
  const groups = report.workloads.filter(({ workload }) => SHOWN.includes(workload))
  const parts: string[] = []
  let top = 0
  for (const group of groups) {
    const { height, text } = groupOf(group, top)
    parts.push(text)
    top += height
  }
  const legend = legendAt(top + 20)
  const height = top + 34
  const title = 'CPU microseconds of each proxy per request or message'
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">
<title>${title}</title>
<style>${STYLE}
</style>
${[...parts, legend].join('\n')}
</svg>
`
}

function groupOf({ workload, figures }: WorkloadReport, top: number) {
  const proxies = Object.entries(figures).filter(([name]) => name !== 'app')
  const sums = proxies.map(([, figure]) => figure.cpuMicroseconds.median + figure.besideMicroseconds.median)
  const scale = BARS / Math.max(...sums)
  const { title, unit } = workloadOf(workload)
  const rows = proxies.map(([name, { cpuMicroseconds, besideMicroseconds }], row) =>
    barOf({
      name,
      own: cpuMicroseconds.median,
      beside: besideMicroseconds.median,
      scale,
      y: top + TITLE + row * ROW,
    }),
  )
  const head = `<text class="title" x="0" y="${top + TITLE - 16}">${title}: CPU µs per ${unit}</text>`
  return { height: TITLE + proxies.length * ROW, text: [head, ...rows].join('\n') }
}

interface Bar {
  readonly name: string
  readonly own: number
  readonly beside: number
  /** Pixels per microsecond. */
  readonly scale: number
  readonly y: number
}

function barOf({ name, own, beside, scale, y }: Bar): string {
  const kind = kindOf(name)
  const [width, more] = [own, beside].map((value) => Number((value * scale).toFixed(1))) as [number, number]
  const value = beside > 0 ? `${showNumber(own)} + ${showNumber(beside)}` : showNumber(own)
  const rect = (x: number, wide: number, classes: string) =>
    `<rect class="${classes}" x="${x}" y="${y}" width="${wide}" height="${BAR}"/>`
  return [
    `<text x="${LABELS - 10}" y="${y + 12}" text-anchor="end">${titleOf(name)}</text>`,
    rect(LABELS, width, kind),
    ...(more > 0 ? [rect(LABELS + width, more, `${kind} beside`)] : []),
    `<text x="${(LABELS + width + more + 6).toFixed(1)}" y="${y + 12}">${value}</text>`,
  ].join('\n')
}

function kindOf(name: string): string {
  if (name.startsWith('gateway')) return 'ours'
  return ['nginx-auth-request', 'oauth2-proxy'].includes(name) ? 'session' : 'open'
}

function legendAt(y: number): string {
  const entries = [
    ['open', 'lets everybody in'],
    ['session', 'checks a session'],
    ['ours', 'this gateway'],
    ['ours beside', 'paler: of the session check or store beside it'],
  ]
  let x = 0
  return entries
    .map(([classes, text = '']) => {
      const at = x
      x += 40 + text.length * 7
      return `<rect class="${classes}" x="${at}" y="${y - 10}" width="12" height="12"/>\n<text x="${at + 18}" y="${y}">${text}</text>`
    })
    .join('\n')
}
