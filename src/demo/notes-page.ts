import { html } from '../core/html.ts'
import type { Visitor } from './notes-app.ts'
import { type Page, permissionChip, STYLE } from './page.ts'
import { applySplice, diff, movePosition, rebase } from './splice.ts'

/** One note. The text is in the page, so that it can be read where no socket is allowed. */
export function notePage({ visitor, text, canWrite }: { visitor: Visitor; text: string; canWrite: boolean }): Page {
  const { name, owner, user, id, senderDomain, permissions } = visitor
  const body = html`<body class="note">
<header class="bar">
  <div class="item"><div><h1>${name}</h1><p class="muted from">shared by ${owner}</p></div></div>
  <div class="account"><span id="people" class="people" role="group" aria-label="People here now"></span>${permissionChip(permissions)}</div>
</header>
<textarea id="text" aria-label="${name}" spellcheck="false" readonly${canWrite && ' data-writable'}>
${text}</textarea>
<footer class="status small">
  <span id="live" class="live" role="status">Connecting …</span>
  <span class="who">You are <strong>${user}</strong>, says the gateway; its signature is verified. Share ${id} of ${senderDomain}.</span>
</footer>
</body>`
  return { title: name, theme: 'notes', body, assets: '' }
}

export function strangerPage(): Page {
  const body = html`<body><div class="centre"><h1>Notes open from a share</h1><p class="muted">Nobody has said who you are. Open the note from your own cloud.</p></div></body>`
  return { title: 'Notes', theme: 'notes', body, assets: '' }
}

export const NOTES_STYLE = `${STYLE}
.note { background: var(--surface) }
.note .bar { min-height: 56px; padding-inline: clamp(1rem, 4vw, 2.25rem) }
.note .bar .item { min-width: 0 }
.note h1 { font-size: 1.05rem; letter-spacing: -0.005em; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.note .from { font-size: 0.8125rem; line-height: 1.3; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.people { display: flex; padding-left: 0.5rem }
.people .avatar { margin-left: -0.5rem; border: 2px solid var(--surface); color: #fff }
#text { flex: 1; min-height: 0; width: 100%; max-width: 52rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 2.25rem); border: 0; outline: 0; resize: none;
  background: transparent; color: inherit; font: 1.0625rem/1.7 ui-serif, "Iowan Old Style", "Source Serif Pro", Georgia, serif }
.status { display: flex; gap: 0.5rem 1.25rem; flex-wrap: wrap; justify-content: space-between; padding: 0.55rem clamp(1rem, 4vw, 2.25rem); color: var(--muted);
  border-top: 1px solid var(--line); background: var(--canvas) }
.status strong { font-weight: 600; color: var(--ink) }
.who { overflow-wrap: anywhere }
.live { display: inline-flex; align-items: center; gap: 0.5rem; white-space: nowrap }
.live::before { content: ""; width: 0.5rem; height: 0.5rem; border-radius: 50%; background: var(--muted) }
.live[data-state=on]::before { background: var(--brand); box-shadow: 0 0 0 3px var(--tint) }
.live[data-state=off]::before { background: var(--danger) }
`

/**
 * The browser’s side. \`base\` is what the server has; \`sent\` is our change that it has not accepted yet; what was typed
 * since is the difference to the textarea. A change of somebody else goes below both.
 */
export const NOTES_SCRIPT = `${[applySplice, diff, movePosition, rebase].join('\n\n')}

const area = document.getElementById('text')
const live = document.getElementById('live')
const people = document.getElementById('people')
const writable = area && 'writable' in area.dataset
let socket, base = '', version = 0, sent

function say(state, text) {
  live.dataset.state = state
  live.textContent = text
}

function show(text, move) {
  const [start, end] = [move(area.selectionStart), move(area.selectionEnd)]
  const top = area.scrollTop
  area.value = text
  if (document.activeElement === area) area.setSelectionRange(start, end)
  area.scrollTop = top
}

function flush() {
  if (sent || socket.readyState !== WebSocket.OPEN) return
  sent = diff(base, area.value)
  if (sent) socket.send(JSON.stringify({ version, splice: sent }))
}

const on = {
  note({ text, version: current }) {
    base = text
    version = current
    sent = undefined
    show(text, (position) => position)
    area.readOnly = !writable
    say('on', writable ? 'Live: everybody sees what you type' : 'Live: you see changes as they are made')
  },
  edit({ splice, version: current }) {
    const ours = sent ? applySplice(base, sent) : base
    const typed = diff(ours, area.value)
    const theirs = sent ? rebase(splice, sent, true) : splice
    base = applySplice(base, splice)
    version = current
    if (sent) sent = rebase(sent, splice, false)
    const below = sent ? applySplice(base, sent) : base
    show(typed ? applySplice(below, rebase(typed, theirs, false)) : below, (position) => movePosition(position, theirs, true))
  },
  accepted({ splice, version: current }) {
    base = applySplice(base, splice)
    version = current
    sent = undefined
    flush()
  },
  people({ people: present }) {
    people.replaceChildren(...present.map(({ user, hue, windows }) => {
      const avatar = document.createElement('span')
      avatar.className = 'avatar'
      avatar.role = 'img'
      avatar.textContent = user.charAt(0).toUpperCase()
      avatar.ariaLabel = avatar.title = windows > 1 ? user + ', ' + windows + ' windows' : user
      avatar.style.background = 'oklch(0.55 0.15 ' + hue + ')'
      return avatar
    }))
  },
}

/** The session may be over: then the page itself is asked for again, and the gateway says where to go. */
async function checkSession() {
  const { status } = await fetch('.ocm/session').catch(() => ({ status: 0 }))
  if (status === 401) location.reload()
}

function connect(delay) {
  const url = new URL('live', location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  socket = new WebSocket(url)
  let opened = false
  socket.onopen = () => { opened = true }
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data)
    on[message.type](message)
  }
  socket.onclose = async () => {
    area.readOnly = true
    people.replaceChildren()
    say('off', opened ? 'Connection lost; trying again …' : 'Not live; reload to see changes')
    await checkSession()
    setTimeout(connect, delay, opened ? 1000 : Math.min(delay * 2, 30_000))
  }
}

if (area) {
  area.addEventListener('input', flush)
  connect(1000)
}
`
