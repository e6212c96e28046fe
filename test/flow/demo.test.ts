import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { request } from 'undici'
import { describe, expect, it, onTestFinished } from 'vitest'
import { runDemo } from '../../src/demo/demo.ts'

/** As a browser would: `*.localhost` is this machine, and a redirect is for the test to look at. */
async function visit(url: string, { form, cookie }: { form?: Record<string, string>; cookie?: string } = {}) {
  const { host, port, pathname } = new URL(url)
  const { statusCode, headers, body } = await request(`http://127.0.0.1:${port}${pathname}`, {
    method: form ? 'POST' : 'GET',
    headers: { host, ...(form && { 'content-type': 'application/x-www-form-urlencoded' }), ...(cookie && { cookie }) },
    body: form ? new URLSearchParams(form).toString() : null,
  })
  return {
    status: statusCode,
    location: String(headers.location),
    cookie: String(headers['set-cookie']),
    text: await body.text(),
  }
}

/** The hidden fields of the form that a launch page submits. */
function hiddenFields(page: string): Record<string, string> {
  return Object.fromEntries(
    [...page.matchAll(/name="(\w+)" value="([^"]+)"/g)].map(([, name = '', value = '']) => [name, value]),
  )
}

describe('the demo', () => {
  it('takes a share from Alice’s page to the app in Bob’s browser, and leaves nothing behind', async () => {
    const printed: string[] = []
    const demo = await runDemo({ app: 'notes', print: (line) => printed.push(line) })
    onTestFinished(demo.close)
    const logFile = /its log: (.+)\)/.exec(printed.join('\n'))?.[1] ?? expect.fail('no log file was named')
    expect(existsSync(logFile)).toBe(true)

    const wish = { resource: 'Field notes.md', permission: 'write', target: 'iframe' }
    expect(await visit(`${demo.aliceUrl}/share`, { form: wish })).toMatchObject({ status: 303 })
    const path = /href="(\/open\/[0-9a-f]+)"/.exec((await visit(demo.bobUrl)).text)?.[1]
    const { text: launchPage } = await visit(`${demo.bobUrl}${path}`)
    const launchUrl = `${demo.gatewayUrl}/notes/.ocm/open`
    const launch = await visit(launchUrl, { form: hiddenFields(launchPage) })
    expect(launch.status).toBe(303)
    const note = await visit(new URL(launch.location, launchUrl).href, { cookie: launch.cookie.replace(/;.*/, '') })
    expect(note.text).toContain('# Field notes, North Ridge')

    await demo.close()
    expect(existsSync(dirname(logFile))).toBe(false)
  })
})
