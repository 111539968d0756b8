// What the journeys share: people with browsers of their own, looking at pages, filling in forms, and one-time codes.
import {createHmac} from 'node:crypto'
import {readFileSync, mkdirSync} from 'node:fs'
import {createServer} from 'node:http'
import {createRequire} from 'node:module'
import {chromium} from 'playwright-core'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export let passed = 0
export let failed = 0

// check counts, and says what is wrong. It returns whether it holds.
export function check(ok, what) {
  if (ok) passed++
  else {
    failed++
    console.log('FAILED ' + what)
  }
  return ok
}

// must is a check that the journey cannot go on without.
export function must(ok, what) {
  if (!ok) throw new Error(what)
  passed++
}

let pictures = ''
let chrome
const looked = new Set()

export async function open(folder) {
  pictures = folder
  if (pictures) mkdirSync(pictures, {recursive: true})
  chrome = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    // Names of the apps lead nowhere, also where a resolver answers everything.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  })
}

// person is somebody with a browser of their own. What its pages complain about, or ask of others than servers, is a fault.
export async function person(name, servers, options = {}) {
  const {lang = 'en', scheme = 'light', ...more} = options
  const context = await chrome.newContext({
    locale: lang === 'es' ? 'es-US' : 'en-US', colorScheme: scheme, viewport: {width: 1280, height: 900}, reducedMotion: 'reduce', ...more,
  })
  const page = await context.newPage()
  page.setDefaultTimeout(30000)
  const p = {name, context, page, lang, scheme, seen: [], status: 200}
  page.on('console', m => {
    if (m.type() === 'error' && !/Failed to load resource/.test(m.text())) check(false, `${name}: ${page.url()} complains: ${m.text()}`)
  })
  page.on('pageerror', e => check(false, `${name}: ${page.url()} fails: ${e}`))
  page.on('request', r => {
    if (/^(data|blob|about|chrome-error):/.test(r.url())) return
    if (!servers.some(s => r.url() === s || r.url().startsWith(s + '/'))) check(false, `${name}: ${page.url()} asks for ${new URL(r.url()).origin}`)
  })
  page.on('response', r => {
    if (r.request().isNavigationRequest()) p.status = r.status()
    if (r.status() >= 500) check(false, `${name}: ${r.url()} answers ${r.status()}`)
  })
  return p
}

// look examines a page in the state in which it is, once for each name and language: axe-core, 320 px, and pictures.
export async function look(p, name) {
  const {page, lang, scheme} = p
  const where = `${name} (${lang}, ${scheme}, ${new URL(page.url()).pathname})`
  p.seen.push(await page.content())
  if (looked.has(`${name} ${lang}`)) return
  looked.add(`${name} ${lang}`)
  check(await page.evaluate(() => document.documentElement.lang) === lang, `${where}: the language is another one`)
  await page.evaluate(axe)
  const found = await page.evaluate(() => axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], rules: {'target-size': {enabled: true}}, resultTypes: ['violations'],
  }))
  for (const v of found.violations) check(false, `${where}: ${v.id}: ${v.help}: ${v.nodes.map(n => n.html).join(' ').slice(0, 500)}`)
  check(found.passes.length > 10, `${where}: axe has looked at little`)
  for (const width of pictures ? [320, 360, 768, 1280] : [320]) {
    await page.setViewportSize({width, height: 900})
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    check(over <= 0, `${where}: at ${width} px it is ${over} px too wide`)
    if (width > 320) await page.screenshot({path: `${pictures}/${name}-${lang}-${width}${scheme === 'dark' ? '-dark' : ''}.png`, fullPage: true})
  }
  await page.setViewportSize({width: 1280, height: 900})
}

// go opens a page by its address.
export async function go(p, url, status = 200) {
  await p.page.goto(url)
  must(p.status === status, `${p.name}: ${url} answers ${p.status}, not ${status}`)
}

// follow follows a link, or a form's button, and waits for the page.
export async function follow(p, locator, status = 200) {
  const page = p.page
  await Promise.all([page.waitForEvent('framenavigated'), locator.click()])
  await page.waitForLoadState()
  if (status) must(p.status === status, `${p.name}: ${page.url()} answers ${p.status}, not ${status}: ${(await page.locator('main').innerText().catch(() => '')).slice(0, 600)}`)
}

export const link = (p, name) => p.page.locator('main').getByRole('link', {name, exact: true}).first()

// form finds the form that is sent to a path, which may be a regular expression.
export const form = (p, action) => p.page.locator(`form[action="${action}"]`).first()

// fill fills in a form: what is named as it says, true and false for boxes, and all that is empty otherwise with something
// that fits its kind, as somebody would who has an answer to everything. What is null stays as it is.
export async function fill(p, action, values = {}, {all = false} = {}) {
  const f = form(p, action)
  await f.waitFor()
  for (const [name, value] of Object.entries(values)) {
    if (value === null) continue
    const fields = f.locator(`[name="${name}"]:not([type=hidden])`)
    const kind = await fields.first().evaluate(e => {
      if (e.closest('details')) e.closest('details').open = true
      return e.type
    })
    if (kind === 'radio' || kind === 'checkbox' && typeof value !== 'boolean') {
      for (const v of [value].flat()) await f.locator(`[name="${name}"][value="${v}"]`).check()
    } else if (kind === 'checkbox') await fields.first().setChecked(value)
    else if (kind === 'select-one') await fields.first().selectOption(value)
    else if (kind === 'file') await fields.first().setInputFiles(value)
    else await fields.first().fill(value)
  }
  if (!all) return f
  await f.evaluate((root, kept) => {
    const day = new Date(Date.now() - 40 * 86400000).toISOString().slice(0, 10) // what has happened, happened before today
    const text = {email: 'people@budget.example', url: 'https://budget.example/page', tel: '+1 919 555 0100', date: day, number: '30', password: ''}
    const done = new Set(kept)
    for (const e of root.elements) {
      if (!e.name || e.type === 'hidden' || e.type === 'file' || done.has(e.name)) continue
      if (e.type === 'radio' || e.type === 'checkbox') {
        done.add(e.name)
        const group = [...root.querySelectorAll(`[name="${e.name}"]`)]
        if (!group.some(x => x.checked)) group[0].checked = true
      } else if (e.tagName === 'SELECT') {
        if (!e.value && e.options.length > 1) e.value = e.options[1].value
      } else if (e.tagName === 'TEXTAREA' || e.tagName === 'INPUT') {
        if (e.value) continue
        const kind = e.type === 'text' && (e.inputMode in text || e.inputMode === 'numeric') ? {numeric: 'number', decimal: 'number'}[e.inputMode] ?? e.inputMode : e.type
        e.value = text[kind] ?? 'It adds up what care has cost, and explains each bill in plain words.'.slice(0, e.maxLength > 0 ? e.maxLength : undefined)
      }
    }
  }, Object.keys(values))
  return f
}

// send sends a form, by its first button or by the one with a value.
export async function send(p, action, value = '', status = 200) {
  const button = form(p, action).locator(value ? `button[value="${value}"]` : 'button').first()
  await follow(p, button, status)
}

export async function submit(p, action, values = {}, options = {}) {
  await fill(p, action, values, options)
  await send(p, action, options.button, options.status)
}

// complete fills in a form and sends it until nothing is missing: an answer may open more questions.
export async function complete(p, action, values = {}, button = '') {
  for (let i = 0; i < 4; i++) {
    const there = await form(p, action).locator('[name]').evaluateAll(list => list.map(e => e.name))
    await fill(p, action, Object.fromEntries(Object.entries(values).filter(([name]) => there.includes(name))), {all: true})
    await send(p, action, button, 0)
    if (p.status !== 422) break
  }
  must(p.status === 200, `${p.name}: ${action} is answered by ${p.status}: ${(await p.page.locator('main').innerText()).slice(0, 500)}`)
}

const path = p => new URL(p.page.url()).pathname
export {path}

// says demands a text on the page.
export async function says(p, text, what) {
  const shown = (await p.page.locator('body').innerText()).replace(/\s+/g, ' ')
  must(text instanceof RegExp ? text.test(shown) : shown.includes(text), `${p.name}: ${path(p)} does not say ${what ?? text}: ${shown.slice(0, 900)}`)
}

const used = new Map()

// code is the one-time code of a key (RFC 6238). A code is taken once, so the next one may have to be waited for;
// the server also takes the one that comes next.
export async function code(key) {
  const digits = key.replace(/[ =]/g, '')
  let bits = ''
  for (const c of digits) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')
  const secret = Buffer.from(bits.match(/.{8}/g).map(b => parseInt(b, 2)))
  let step = Math.max(Math.floor(Date.now() / 30000), (used.get(digits) ?? 0) + 1)
  while (step > Math.floor(Date.now() / 30000) + 1) await new Promise(r => setTimeout(r, 500))
  used.set(digits, step)
  const count = Buffer.alloc(8)
  count.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', secret).update(count).digest()
  const at = mac[19] & 15
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1e6).padStart(6, '0')
}

// callback is an app on its developer's machine: its redirect URI, and the answers that come there.
export async function callback() {
  const answers = []
  const server = createServer((q, a) => {
    const url = new URL(q.url, 'http://127.0.0.1')
    if (url.pathname === '/callback') answers.push(url.searchParams)
    a.setHeader('Content-Type', 'text/html; charset=utf-8')
    a.end('<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,"><h1>Signed in</h1>')
  })
  await new Promise(r => server.listen(0, '127.0.0.1', r))
  return {uri: `http://127.0.0.1:${server.address().port}/callback`, origin: `http://127.0.0.1:${server.address().port}`, answers, close: () => server.close()}
}

// run makes the journeys one after another. One that fails does not keep those from being tried that do not need it.
export async function run(list) {
  const lost = new Set()
  for (const [name, needs, journey] of list) {
    const begun = Date.now()
    if (needs.some(n => lost.has(n))) {
      lost.add(name)
      console.log(`left out ${name}: it needs ${needs.filter(n => lost.has(n)).join(', ')}`)
      continue
    }
    try {
      await journey()
      console.log(`done     ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`)
    } catch (e) {
      lost.add(name)
      check(false, `${name}: ${e.stack.split('\n').slice(0, 6).join('\n')}`)
      for (const c of chrome.contexts()) {
        for (const page of c.pages()) await page.screenshot({path: `${pictures || '.'}/failed-${name.replace(/\W+/g, "-")}-${c.pages().indexOf(page)}-${chrome.contexts().indexOf(c)}.png`, fullPage: true}).catch(() => {})
      }
    }
  }
}

export async function end() {
  await chrome.close()
  console.log(`${passed} passed, ${failed} failed`)
  process.exit(failed ? 1 : 0)
}
