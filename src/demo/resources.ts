/** Something in Alice’s cloud that she can share. */
export interface Resource {
  readonly name: string
  readonly resourceType: 'file' | 'folder'
  readonly mediaType: string
  /** One line about it, for people. */
  readonly description: string
  /** Content by path; the one file of a `file` is at `''`. */
  readonly files: Readonly<Record<string, string | Buffer>>
}

const fieldNotes = `# Field notes, North Ridge

Day 1
Clear sky, 4 °C at dawn. Two sensors replaced at the upper station.

Day 2
Fog until noon. Readings of station 3 look off; check the cable.

To do
- compare with last year's series
- ask Bob about the calibration
`

const agenda = `# Workshop agenda

09:30  Welcome and round of introductions
10:00  What we measured this summer
11:00  Hands-on: from raw data to a plot
12:30  Lunch
`

function notebook(...cells: { type: 'markdown' | 'code'; source: string }[]): string {
  const outputs = { outputs: [], execution_count: null }
  const made = cells.map(({ type, source }, index) => ({
    id: `cell-${index + 1}`,
    cell_type: type,
    metadata: {},
    source: source.split(/(?<=\n)/),
    ...(type === 'code' && outputs),
  }))
  const metadata = { kernelspec: { name: 'python3', display_name: 'Python 3', language: 'python' } }
  return `${JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata, cells: made }, null, 1)}\n`
}

const analysis = notebook(
  {
    type: 'markdown',
    source: '# Ocean temperatures\nShared from another cloud. Run it, change it, save it: it is a live notebook.',
  },
  {
    type: 'code',
    source: 'anomaly = {2020: 0.44, 2021: 0.36, 2022: 0.41, 2023: 0.70, 2024: 0.72}\nmax(anomaly, key=anomaly.get)',
  },
)

export const NOTES: readonly Resource[] = [
  {
    name: 'Field notes.md',
    resourceType: 'file',
    mediaType: 'text/markdown',
    description: 'Two days at the North Ridge stations',
    files: { '': fieldNotes },
  },
  {
    name: 'Workshop agenda.md',
    resourceType: 'file',
    mediaType: 'text/markdown',
    description: 'Draft for the autumn meeting',
    files: { '': agenda },
  },
]

const trend = notebook(
  { type: 'markdown', source: '# The trend of the North Atlantic\nReads the measurements that lie beside it.' },
  {
    type: 'code',
    source: 'import csv\nrows = list(csv.DictReader(open("data/année 2024 – 50%.csv")))\nlen(rows), rows[0]["anomaly"]',
  },
)

const measurements = `month,anomaly\n${[0.88, 0.93, 0.99].map((anomaly, index) => `2024-0${index + 1},${anomaly}`).join('\n')}\n`

export const NOTEBOOKS: readonly Resource[] = [
  {
    name: 'Ocean temperatures.ipynb',
    resourceType: 'file',
    mediaType: 'application/x-ipynb+json',
    description: 'A notebook with one small analysis',
    files: { '': analysis },
  },
  {
    name: 'North Atlantic',
    resourceType: 'folder',
    mediaType: 'httpd/unix-directory',
    description: 'A folder: a notebook, and the data that it reads',
    files: {
      'Trend.ipynb': trend,
      'data/année 2024 – 50%.csv': measurements,
      'data/read me.md': '# Monthly anomalies\n',
    },
  },
]
