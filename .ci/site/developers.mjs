// Looks at the pages of the developers' portal in Chromium, in English and Spanish: axe-core (in Spanish on pages of each
// kind), 320 px, zoom, and the console against a sandbox. TestServeForBrowser of internal/site/developers starts it:
//
//   node developers.mjs BASE PICTURES
//
// PICTURES is a folder, or "" for none. It exits with 1 if anything is wrong.
import {readFileSync, mkdirSync} from 'node:fs'
import {createRequire} from 'node:module'
import {chromium} from 'playwright-core'

const [base, pictures] = process.argv.slice(2)
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
if (pictures) mkdirSync(pictures, {recursive: true})

let passed = 0
let failed = 0
const check = (ok, what) => {
  if (ok) passed++
  else {
    failed++
    console.log('FAILED ' + what)
  }
}

const chrome = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})

const world = async (action = '') => (await fetch(`${base}/test/world?do=${action}`)).json()

async function person(lang, scheme = 'light') {
  const context = await chrome.newContext({locale: lang === 'es' ? 'es-US' : 'en-US', colorScheme: scheme, viewport: {width: 1280, height: 900}})
  const page = await context.newPage()
  page.setDefaultTimeout(20000)
  page.on('console', m => {
    if (m.type() === 'error' && !/status of 4\d\d/.test(m.text())) check(false, `${page.url()}: ${m.text()}`)
  })
  page.on('request', r => {
    if (!r.url().startsWith(base + '/') && !r.url().startsWith('data:')) check(false, `${page.url()} asks for ${r.url()}`)
  })
  return {context, page, lang, scheme}
}

const eachKind = ['sign-up-wrong', 'phr', 'status', 'dashboard', 'organisation', 'app', 'requests', 'credentials', 'application', 'section', 'submit', 'console']

async function look(p, name) {
  const {page, lang, scheme} = p
  const where = `developers-${name} (${lang}, ${scheme})`
  await page.setViewportSize({width: 1280, height: 900})
  check(await page.evaluate(() => document.documentElement.lang) === lang, `${where}: the language is another one`)
  if (lang === 'en' || eachKind.includes(name)) {
    await page.evaluate(axe)
    const found = await page.evaluate(() => axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], rules: {'target-size': {enabled: true}}, resultTypes: ['violations'],
    }))
    for (const v of found.violations) check(false, `${where}: ${v.id}: ${v.help}: ${v.nodes.map(n => n.html).join(' ').slice(0, 500)}`)
    check(found.passes.length > 10, `${where}: axe has looked at little`)
  }
  const over = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  const sizes = [[320, '', '320 px'], [640, '', '200% zoom'], [640, '200%', '200% text']]
  for (const [width, font, what] of lang === 'en' || eachKind.includes(name) ? sizes : sizes.slice(0, 1)) {
    await page.setViewportSize({width, height: 800})
    await page.evaluate(f => { document.documentElement.style.fontSize = f }, font)
    const n = await over()
    check(n <= 0, `${where}: ${what} scrolls sideways by ${n} px`)
  }
  await page.evaluate(() => { document.documentElement.style.fontSize = '' })
  if (pictures) {
    for (const width of [360, 768, 1280]) {
      await page.setViewportSize({width, height: 900})
      await page.screenshot({path: `${pictures}/developers-${name}-${lang}-${scheme}-${width}.png`, fullPage: true})
    }
  }
  await page.setViewportSize({width: 1280, height: 900})
}

async function signIn(p, shown) {
  const {page} = p
  await world('pass')
  await page.goto(`${base}/developers/sign-in`)
  if (shown) await look(p, 'sign-in')
  const {password} = await world()
  await page.fill('#email', 'owner@canary7.example')
  await page.fill('#password', password)
  await page.click('form[action="/developers/sign-in"] button')
  if (shown) await look(p, 'factor')
  await page.fill('#code', (await world()).code)
  await page.click('form[action="/developers/factor"] button')
  await page.waitForURL(`${base}/developers`)
}

async function every(lang, scheme) {
  const p = await person(lang, scheme)
  const {page} = p
  const {ids} = await world()
  for (const [name, path] of [['sign-up', '/developers/sign-up'], ['forgot', '/developers/forgot'], ['phr', '/phr'], ['phr-status', '/phr/status'], ['support', '/support'],
    ['support-request', '/support/request'], ['status', '/status'], ['directory', '/apps-directory'], ['missing', '/developers/nothing']]) {
    await page.goto(base + path)
    await look(p, name)
  }
  await page.goto(`${base}/developers/sign-up`)
  await page.click('form[action="/developers/sign-up"] button')
  await look(p, 'sign-up-wrong')
  check(await page.evaluate(() => document.activeElement.getAttribute('role')) === 'alert', `sign-up-wrong (${lang}): the focus is not on what is wrong`)
  await signIn(p, true)
  await look(p, 'dashboard')
  const org = `/developers/organisations/${ids.org}`
  const app = `/developers/apps/${ids.app}`
  const application = `/developers/applications/${ids.id}`
  for (const [name, path] of [['profile', '/developers/profile'], ['neworg', '/developers/organisations/new'], ['neworg-form', '/developers/organisations/new?solo=no'], ['organisation', org], ['contacts', `${org}/contacts`],
    ['domain', `${org}/domain`], ['people', `${org}/people`], ['history', `${org}/history`], ['newapp', `${org}/apps/new`], ['app', app], ['app-edit', `${app}/edit`], ['logo', `${app}/logo`],
    ['members', `${app}/members`], ['requests', `${app}/requests`], ['credentials', `${app}/sandbox/credentials`], ['rotate', `${app}/sandbox/rotate`], ['application', application],
    ['section', `${application}/edit`], ['section-topics', `${application}/edit?section=topics`], ['section-proof', `${application}/edit?section=proof`], ['submit', `${application}/submit`],
    ['withdraw', `${application}/move/withdraw`], ['revision', `/developers/applications/${ids.questionnaire}/revisions/1`], ['approved', `/developers/applications/${ids.questionnaire}`]]) {
    await page.goto(base + path)
    await look(p, name)
  }
  await p.context.close()
}

// tried signs in a test member by the console, and reads the member's record.
async function tried(lang) {
  const p = await person(lang)
  const {page} = p
  const {ids} = await world()
  await signIn(p, false)
  await page.goto(`${base}/developers/apps/${ids.app}/console`)
  await page.waitForSelector('#console-type option', {state: 'attached'})
  await page.click('#console-send')
  await page.waitForFunction(() => document.querySelector('#console-code').textContent.includes('401'))
  await look(p, 'console')
  await page.click('#console-begin')
  await page.waitForURL(/\/login/)
  await page.fill('#login', 'ana')
  await page.fill('#password', 'made-up-1')
  await page.click('form[action="/login"] button')
  await page.click('[value=allow]')
  await page.waitForURL(/\/developers\/apps\/.*\/console$/)
  await page.waitForFunction(() => document.querySelector('#console-path').value.startsWith('Patient/'))
  await page.click('#console-send')
  await page.waitForFunction(() => document.querySelector('#console-code').textContent.includes('200'))
  for (let i = 0; i < 4 && !(await page.textContent('#console-body')).includes('Canaria'); i++) {
    for (const folded of await page.$$('#console-body details:not([open]) > summary')) await folded.click()
    await page.waitForTimeout(100)
  }
  check((await page.textContent('#console-body')).includes('Canaria'), `console (${lang}): the record is not shown`)
  check((await page.textContent('#console-command')).includes('$TOKEN'), `console (${lang}): the command has no placeholder for the token`)
  check(await page.evaluate(() => sessionStorage.length + localStorage.length) === 0, `console (${lang}): something is kept`)
  await page.fill('#console-path', '//evil.example/fhir')
  await page.click('#console-send')
  if (pictures) await page.screenshot({path: `${pictures}/developers-console-${lang}.png`, fullPage: true})
  await page.reload()
  await page.waitForSelector('#console-type option', {state: 'attached'})
  await page.click('#console-send')
  await page.waitForFunction(() => document.querySelector('#console-code').textContent.includes('401'))
  await p.context.close()
}

// tries runs a request of the documentation without an account, and looks at the page without a script.
async function tries(lang) {
  const p = await person(lang)
  const {page} = p
  const status = want => page.waitForFunction(w => document.querySelector('#console-status')?.textContent.includes(w), want)
  await page.goto(`${base}/docs/try?request=Patient%2F%24ID`)
  await page.waitForSelector('#console-type option', {state: 'attached'})
  check(!(await page.isVisible('#console-forget')), `try (${lang}): a token can be forgotten before there is one`)
  await page.click('#console-send')
  await status(lang === 'es' ? 'Primero' : 'first')
  await look(p, 'try')
  await page.click('#console-begin')
  await page.waitForURL(/\/login/)
  await page.fill('#login', 'ana')
  await page.fill('#password', 'made-up-1')
  await page.click('form[action="/login"] button')
  await page.click('[value=allow]')
  await page.waitForURL(`${base}/docs/try`)
  await page.waitForFunction(() => document.querySelector('#console-code')?.textContent.includes('200'))
  check((await page.inputValue('#console-path')) === 'Patient/pat-ana', `try (${lang}): the request has no id`)
  check(await page.evaluate(() => sessionStorage.length + localStorage.length) === 0, `try (${lang}): something is kept`)
  await look(p, 'tried')
  await page.goto(`${base}/docs/try?request=metadata`)
  await page.waitForFunction(() => document.querySelector('#console-code')?.textContent.includes('200'))
  await p.context.close()
  const plain = await chrome.newContext({javaScriptEnabled: false, locale: lang === 'es' ? 'es-US' : 'en-US'})
  const without = await plain.newPage()
  await without.goto(`${base}/docs/try?request=Patient%2F%24ID`)
  check((await without.innerText('main')).includes('/fhir/Patient/$ID"'), `try (${lang}): without a script there is no command`)
  if (pictures) await without.screenshot({path: `${pictures}/developers-try-without-${lang}.png`, fullPage: true})
  await plain.close()
}

try {
  await every('en', 'light')
  await every('es', 'dark')
  await tried('en')
  await tried('es')
  await tries('en')
  await tries('es')
} catch (e) {
  check(false, e.stack)
}
await chrome.close()
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
