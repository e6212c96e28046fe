import { html } from '../../core/html.ts'
import type { Session } from '../../sessions/session.ts'
import { mark, type Page } from './layout.ts'

/** Follows the start by server-sent events; without scripts the page reloads itself until the app is there. */
const SCRIPT = `
const bar = document.querySelector('progress'), message = document.getElementById('message')
const waiting = document.getElementById('waiting'), failed = document.getElementById('failed')
const retry = document.getElementById('retry'), why = document.getElementById('why')
const events = new EventSource('starting/events')
const fail = ({ message, requestId }) => {
  events.close()
  waiting.hidden = true
  failed.hidden = false
  document.title = document.querySelector('#failed h1').textContent
  why.textContent = message
  if (requestId) document.querySelector('footer code').textContent = requestId
  retry.focus()
}
events.addEventListener('progress', ({ data }) => {
  const progress = JSON.parse(data)
  bar.value = progress.percent
  message.textContent = progress.message
})
events.addEventListener('ready', ({ data }) => {
  events.close()
  bar.value = 100
  location.replace(JSON.parse(data).location)
})
events.addEventListener('failed', ({ data }) => fail(JSON.parse(data)))
events.addEventListener('ended', () => {
  events.close()
  location.reload()
})
events.addEventListener('error', () => {
  if (events.readyState === EventSource.CLOSED) fail({ message: 'The connection to the gateway was lost.' })
})
retry.addEventListener('click', () => location.reload())
`

/** The page that people see while their application is being started. */
export function startingPage({ grant, frameAncestors }: Session, requestId: string): Page {
  const name = grant.share.name || 'the shared application'
  const body = html`
<section id="waiting">
${mark('rocket')}
<h1>Opening ${name}</h1>
<p class="soft">Shared with you by ${grant.share.ownerDisplayName ?? grant.owner}.</p>
<progress max="100" value="0" aria-label="Progress" aria-describedby="message"></progress>
<p id="message" class="soft" role="status">Asking for a place to run…</p>
<noscript><meta http-equiv="refresh" content="3"></noscript>
</section>
<section id="failed" hidden>
${mark('alert', 'warn')}
<h1>The application did not start</h1>
<p id="why"></p>
<p class="soft">Often a second try works. If it does not, tell your support the request number below.</p>
<div class="actions"><button id="retry" type="button">Try again</button></div>
</section>
<footer>Request <code>${requestId}</code></footer>`
  return { title: `Opening ${name}`, body, script: SCRIPT, frameAncestors }
}
