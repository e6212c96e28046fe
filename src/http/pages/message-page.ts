import type { GatewayError } from '../../core/errors.ts'
import { type Html, html } from '../../core/html.ts'
import { mark, type Page } from './layout.ts'

/** What a page that tells something may know of where it is shown. */
export interface Setting {
  readonly requestId: string
  /** A verified address at the Receiving Server, the way back. */
  readonly returnUri: string | undefined
  readonly frameAncestors: readonly string[]
}

const HEADINGS: Record<number, string> = {
  400: 'That request could not be understood',
  401: 'Please open the share again',
  403: 'This is not allowed',
  404: 'There is nothing at this address',
  410: 'This share has ended',
  413: 'That is too much data',
  429: 'A little slower, please',
  502: 'The application does not answer',
  503: 'Not available right now',
  504: 'The application takes too long',
}

const ASK_OWNER = 'Ask the person who shared it with you whether they want to share it again.'

const NEXT_STEPS: Record<number, string> = {
  400: 'Go back to your cloud and open the share from there.',
  401: 'Go back to your cloud and open the share from there: that gives you a fresh link.',
  403: 'If you think you should have access, ask the person who shared it with you.',
  404: 'If you came here from a share, its owner may have removed it. Ask the person who shared it with you.',
  410: ASK_OWNER,
  429: 'Wait a minute, then open the share again from your cloud.',
  500: 'Try again in a moment. If it stays like this, tell your support the request number below.',
  502: 'It may be restarting. Try again in a minute. If it stays like this, tell your support the request number below.',
  503: 'Try again in a minute. If it stays like this, tell your support the request number below.',
  504: 'It may be busy. Try again in a minute.',
}

/** The page for a refusal: what happened, what to do next, the way back, the request id. */
export function errorPage({ status, message }: Pick<GatewayError, 'status' | 'message'>, setting: Setting): Page {
  const heading = HEADINGS[status] ?? (status >= 500 ? 'Something went wrong' : 'This did not work')
  return messagePage(
    {
      heading,
      icon: status === 410 ? 'clock' : 'alert',
      text: message,
      next: NEXT_STEPS[status] ?? NEXT_STEPS[500] ?? '',
    },
    setting,
  )
}

/** Where nothing else is said, people are told to open the share again. */
interface Ending extends Pick<Message, 'heading' | 'text'>, Partial<Pick<Message, 'next' | 'icon'>> {}

const ENDINGS: Record<string, Ending> = {
  revoked: {
    heading: 'This share was revoked',
    text: 'Its owner has stopped sharing it with you, so the application was closed.',
    next: ASK_OWNER,
  },
  replaced: {
    heading: 'This share was changed',
    text: 'Its owner has changed the share, so the application was closed.',
  },
  unpaired: {
    heading: 'This share is no longer served here',
    text: 'The cloud it comes from is no longer connected to this gateway.',
    next: 'Ask the person who shared it with you whether there is another way.',
  },
  expired: {
    heading: 'Your time with this share is over',
    text: 'Sessions end after a while, for safety. Nothing is wrong.',
  },
  idle: { heading: 'You were away for a while', text: 'The application was closed because nobody used it.' },
  logout: { heading: 'You are logged out', text: 'The application was closed as you asked.' },
  superseded: {
    heading: 'You have opened this share very often',
    text: 'The oldest of your windows with it was closed to make room for a new one.',
  },
  closed: { heading: 'The application was closed', text: 'Your cloud has asked for it.' },
  operator: { heading: 'The application was closed', text: 'An operator of this gateway has closed it.' },
  blocked: {
    heading: 'This share is no longer served here',
    text: 'An operator of this gateway has blocked it, so the application was closed. Its owner may not know of it.',
    next: ASK_OWNER,
  },
}

const NEVER_OPENED: Ending = {
  icon: 'info',
  heading: 'There is no open share in this tab',
  text: 'A share opens inside your cloud, or in the one tab that your cloud opened for it. Links out of it do not work on their own.',
}

/** Why a session ended, in words for people. `reason` may come from outside: only known ones are told. */
export function endingOf(reason: string | undefined): Ending {
  return (Object.hasOwn(ENDINGS, reason ?? '') ? ENDINGS[reason ?? ''] : undefined) ?? NEVER_OPENED
}

/** The page that an ended session lands on. */
export function expiredPage(reason: string | undefined, setting: Setting): Page {
  return messagePage(
    { icon: 'clock', next: 'To go on, open the share again from your cloud.', ...endingOf(reason) },
    setting,
  )
}

/** The page at the launch address for a plain visit: people get here when a share came without a secret. */
export function launchPage(setting: Setting): Page {
  return messagePage(
    {
      heading: 'Open this from your cloud',
      icon: 'info',
      text: 'This is where shared applications are opened. Your cloud does that for you, with a pass that only it can get.',
      next: 'Go to your cloud, find the share, and open it there. If that is how you came here, ask the owner to share it once more.',
    },
    setting,
  )
}

interface Message {
  readonly heading: string
  readonly icon: 'info' | 'alert' | 'clock'
  readonly text: string
  readonly next: string
}

function messagePage({ heading, icon, text, next }: Message, { requestId, returnUri, frameAncestors }: Setting): Page {
  const body: Html = html`
${mark(icon, icon === 'alert' ? 'warn' : 'accent')}
<h1>${heading}</h1>
${text !== `${heading}.` && html`<p>${text}</p>`}
<p class="soft">${next}</p>
${returnUri !== undefined && html`<div class="actions"><a class="button" href="${returnUri}">Back to your cloud</a></div>`}
<footer>Request <code>${requestId}</code></footer>`
  return { title: heading, body, frameAncestors }
}
