import { html } from '../../core/html.ts'
import type { Session } from '../../sessions/session.ts'
import { mark, type Page } from './layout.ts'

/** Follows the start by server-sent events; without scripts the page reloads itself until the app is there. */
const SCRIPT = `
const bar = document.querySelector('progress'), message = document.getElementById('message')
const waiting = document.getElementById('waiting'), failed = document.getElementById('failed')
const retry = document.getElementById('retry'), why = document.getElementById('why')
const detail = document.getElementById('detail'), notice = document.getElementById('notice')
const items = notice.querySelector('ul'), more = document.getElementById('more'), go = document.getElementById('go')
let toRead
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
  if (message.textContent !== progress.message) message.textContent = progress.message
  detail.textContent = progress.detail ?? '\u00a0'
  toRead = progress.notice ?? toRead
})
events.addEventListener('ready', ({ data }) => {
  events.close()
  bar.value = 100
  const { location: target } = JSON.parse(data)
  if (!toRead) return location.replace(target)
  show(toRead)
  go.addEventListener('click', () => location.replace(target))
  go.focus()
})
const show = ({ heading, text, items: listed, more: others }) => {
  waiting.hidden = true
  notice.hidden = false
  document.title = notice.querySelector('h1').textContent = heading
  document.getElementById('told').textContent = text
  items.hidden = listed.length === 0
  for (const { what, why: reason } of listed) {
    const item = items.appendChild(document.createElement('li'))
    item.appendChild(document.createElement('bdi')).textContent = what
    item.appendChild(document.createElement('span')).textContent = reason
  }
  more.hidden = others === 0
  more.textContent = 'and ' + others.toLocaleString('en') + ' more'
}
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
<p id="detail" class="soft one-line">&nbsp;</p>
<noscript><meta http-equiv="refresh" content="3"></noscript>
</section>
<section id="notice" hidden>
${mark('info')}
<h1></h1>
<p id="told"></p>
<ul class="list" tabindex="0" aria-label="Files"></ul>
<p id="more" class="soft" hidden></p>
<div class="actions"><button id="go" type="button">Open ${name}</button></div>
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
