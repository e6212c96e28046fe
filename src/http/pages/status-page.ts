import type { ContentStatus } from '../../apps/app.ts'
import { type Html, html } from '../../core/html.ts'
import type { Session } from '../../sessions/session.ts'
import { mark, type Page } from './layout.ts'

interface Told {
  readonly icon: 'info' | 'alert' | 'clock'
  readonly heading: string
  readonly text: string
}

/** Looks again by itself; times are shown as the reader’s own clock says. */
const SCRIPT = `
for (const time of document.querySelectorAll('time')) time.textContent = new Date(time.dateTime).toLocaleString()
setTimeout(() => location.reload(), 5000)
`

/** What has become of people’s work: saved in the cloud it comes from, waiting, in conflict; and what was left out. */
export function statusPage(
  { grant, frameAncestors, returnUri }: Session,
  content: ContentStatus | undefined,
  requestId: string,
): Page {
  const { icon, heading, text } = told(content, grant.senderDomain)
  const { lastSavedAt, paths = [], pending = 0, conflicts = [], leftOut } = content ?? {}
  const body = html`
${mark(icon, icon === 'alert' ? 'warn' : 'accent')}
<h1>${heading}</h1>
<p>${text}</p>
${content?.waiting !== undefined && html`<p class="soft">${content.waiting}.</p>`}
${lastSavedAt !== undefined && html`<p class="soft">Last saved ${moment(lastSavedAt)}.</p>`}
${list(
  'Not saved there yet',
  pending,
  paths.map((path) => ({ what: path, why: '' })),
)}
${list(
  'Changed on both sides',
  conflicts.length,
  conflicts.map(({ path, copy }) => ({ what: path, why: html`yours is kept as ${copy}` })),
)}
${
  leftOut !== undefined &&
  list(
    'Left out',
    leftOut.total,
    leftOut.listed.map(({ path, why }) => ({ what: path, why })),
  )
}
${returnUri !== undefined && html`<div class="actions"><a class="button" href="${returnUri}">Back to your cloud</a></div>`}
<footer>${grant.share.name} · Request <code>${requestId}</code></footer>`
  return { title: heading, body, script: SCRIPT, frameAncestors }
}

function told(content: ContentStatus | undefined, sender: string): Told {
  switch (content?.state) {
    case 'saved':
      return {
        icon: 'info',
        heading: 'Everything is saved',
        text: `What you saved is in the cloud it comes from, ${sender}.`,
      }
    case 'saving':
      return { icon: 'clock', heading: 'Saving', text: `Your changes are on their way to ${sender}.` }
    case 'waiting':
      return {
        icon: 'alert',
        heading: 'Changes wait to be saved',
        text: `They are kept here, but ${sender} does not have them yet. It is tried again by itself, and when you open the share again.`,
      }
    case 'conflict':
      return {
        icon: 'alert',
        heading: 'Saved, with a conflict',
        text: 'Somebody else changed the same file. Nothing was overwritten: their version kept the name, and yours is beside it. To go on with theirs, open the share again.',
      }
    case 'private':
      return {
        icon: 'info',
        heading: 'Your own copy',
        text: `This share may be read. What you change stays on your server; nothing goes back to ${sender}.`,
      }
    default:
      return {
        icon: 'info',
        heading: 'No files were brought',
        text: 'This application looks after the shared files itself.',
      }
  }
}

function list(heading: string, total: number, items: readonly { what: string; why: string | Html }[]): Html | false {
  if (total === 0) return false
  const lines = items.map(
    ({ what, why }) => html`<li><bdi>${what}</bdi>${why !== '' && html`<span>${why}</span>`}</li>`,
  )
  const more = total - items.length
  return html`<h2>${heading} (${total})</h2><ul class="list" tabindex="0" aria-label="${heading}">${lines}${more > 0 && html`<li><span>and ${more} more</span></li>`}</ul>`
}

function moment(epochSeconds: number): Html {
  const iso = new Date(epochSeconds * 1000).toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 16).replace('T', ' ')} UTC</time>`
}
