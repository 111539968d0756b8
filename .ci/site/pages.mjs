// Looks at every page that members see, in Chromium, in English and Spanish: axe-core, 320 px, zoom, large text, the
// keyboard alone, and what the Content-Security-Policy stops. TestServeForBrowser of internal/site starts it:
//
//   node pages.mjs BASE APP PICTURES
//
// BASE is the site, APP the origin of an app, PICTURES a folder, or "" for none. It exits with 1 if anything is wrong.
import {readFileSync, mkdirSync} from 'node:fs'
import {createRequire} from 'node:module'
import {chromium} from 'playwright-core'

const [base, app, pictures] = process.argv.slice(2)
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

// person is a browser of its own that speaks a language.
async function person(lang, scheme = 'light') {
  const context = await chrome.newContext({locale: lang === 'es' ? 'es-US' : 'en-US', colorScheme: scheme, viewport: {width: 1280, height: 900}})
  const page = await context.newPage()
  page.on('console', m => {
    // A page of a problem has the status of an error, which browsers log.
    if (m.type() === 'error' && !/status of 4\d\d|status of 503/.test(m.text())) check(false, `${page.url()}: ${m.text()}`)
  })
  page.on('request', r => {
    const u = r.url()
    if (!u.startsWith(base + '/') && !u.startsWith(app + '/') && !u.startsWith('data:') && !u.startsWith('org.example.')) check(false, `${page.url()} asks for ${u}`)
  })
  return {context, page, lang, scheme}
}

const ask = async (client, scope = '') => (await fetch(`${base}/test/request?client=${client}&scope=${encodeURIComponent(scope)}`)).text()

// look holds a page against the rules, and takes pictures of it.
async function look(p, name) {
  const {page, lang, scheme} = p
  const where = `${name} (${lang}, ${scheme})`
  await page.setViewportSize({width: 1280, height: 900})
  check(await page.evaluate(() => document.documentElement.lang) === lang, `${where}: the language is another one`)
  check(/\S \| \S/.test(await page.title()), `${where}: no title`)
  await page.evaluate(axe)
  const found = await page.evaluate(() => axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], rules: {'target-size': {enabled: true}},
  }))
  for (const v of found.violations) check(false, `${where}: ${v.id}: ${v.help}: ${v.nodes.map(n => n.html).join(' ').slice(0, 600)}`)
  check(found.passes.length > 10, `${where}: axe has looked at little`)
  for (const i of found.incomplete) {
    const unsure = i.nodes.filter(n => n.any.some(a => a.data?.messageKey !== 'pseudoContent'))
    if (i.id === 'color-contrast' && unsure.length) console.log(`unsure ${where}: ${i.id}: ${unsure.map(n => n.html).join(' ').slice(0, 200)}`)
  }
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  for (const [width, font, what] of [[320, '', '320 px'], [640, '', '200% zoom'], [640, '200%', '200% text'], [320, '150%', '320 px with larger text']]) {
    await page.setViewportSize({width, height: 800})
    await page.evaluate(f => { document.documentElement.style.fontSize = f }, font)
    const over = await wide()
    check(over <= 0, `${where}: ${what} scrolls sideways by ${over} px`)
  }
  await page.evaluate(() => { document.documentElement.style.fontSize = '' })
  if (pictures) {
    for (const width of [360, 768, 1280]) {
      await page.setViewportSize({width, height: 900})
      await page.screenshot({path: `${pictures}/${name}-${lang}-${scheme}-${width}.png`, fullPage: true})
    }
  }
  await page.setViewportSize({width: 1280, height: 900})
}

async function signIn(p, login, password, request = '') {
  await p.page.goto(`${base}/login${request && '?request=' + request}`)
  await p.page.fill('#login', login)
  await p.page.fill('#password', password)
  await p.page.click('form[action="/login"] button')
}

const [ana, bob, nobody] = JSON.parse(await (await fetch(base + '/test/passwords')).text())

// every is all pages and states, but what needs a whole flow.
async function every(lang, scheme) {
  const p = await person(lang, scheme)
  const {page} = p
  let request = await ask('budget')
  await page.goto(`${base}/login`)
  await look(p, 'login')
  await page.goto(`${base}/consent?request=${request}`)
  await look(p, 'login-for-app')
  await page.fill('#login', 'bob')
  await page.fill('#password', 'not this one')
  await page.click('form[action="/login"] button')
  await look(p, 'login-wrong')
  check(await page.evaluate(() => document.activeElement.getAttribute('role')) === 'alert', `login-wrong (${lang}): the focus is not on what is wrong`)
  await signIn(p, 'ana', ana, request)
  await look(p, 'choose')
  await page.evaluate(() => document.querySelectorAll('input[type=radio]').forEach(x => x.removeAttribute('required')))
  await page.click('form[method=get] button')
  await look(p, 'choose-none')
  await page.click('.choice:nth-of-type(2) label')
  await page.click('form[method=get] button')
  await look(p, 'consent-child')
  for (const box of await page.$$('[name=kind]')) await box.uncheck()
  await page.click('[value=allow]')
  await look(p, 'consent-wrong')
  await page.click('details summary')
  for (const box of await page.$$('[name=kind]')) await box.check()
  await page.click('[value=allow]')
  await page.waitForURL(app + '/**')
  check(/[?&]code=/.test(page.url()), `consent (${lang}): the browser did not come back to the app with a code: ${page.url()}`)
  await page.goto(`${base}/consent?request=${request}`)
  await look(p, 'problem-used')
  request = await ask('chart', 'openid launch/patient patient/ExplanationOfBenefit.rs?type=pharmacy patient/Patient.rs')
  await page.goto(`${base}/consent?request=${request}`)
  await page.click('.choice label')
  await page.click('form[method=get] button')
  for (const more of await page.$$('details summary')) await more.click()
  await look(p, 'consent-part')
  await page.click('[value=allow]')
  await look(p, 'continue')
  await page.goto(`${base}/apps`)
  await look(p, 'apps')
  await page.click('[href^="/apps/agreed"]')
  await look(p, 'agreed')
  await page.goto(`${base}/apps`)
  await page.click('[href^="/apps/complain"]')
  await look(p, 'complain')
  await page.evaluate(() => document.querySelectorAll('[required]').forEach(x => x.removeAttribute('required')))
  await page.fill('#q-message', 'My number is 123-45-6789.')
  await page.click('form.card button')
  await look(p, 'complain-wrong')
  check(await page.inputValue('#q-message') === 'My number is 123-45-6789.', `complain (${lang}): what was written is lost`)
  await page.check('#q-kind-shared')
  await page.check('#q-reply-email')
  await page.click('form.card button')
  await look(p, 'complain-more')
  await page.fill('#q-email', 'ana@example.org')
  await page.click('form.card button')
  await look(p, 'complain-warned')
  await page.check('#confirmed')
  await page.click('form.card button')
  await page.waitForURL('**/apps/complain/sent?**')
  await look(p, 'complained')
  await page.goto(`${base}/choose-an-app`)
  await look(p, 'choose-an-app')
  await page.goto(`${base}/apps`)
  await page.click('.connected .danger')
  await look(p, 'revoke')
  await page.click('.danger.full')
  await look(p, 'apps-ended')
  await page.goto(`${base}/logout`)
  await look(p, 'logout')
  await page.click('main form button')
  await look(p, 'logged-out')

  request = await ask('budget', 'openid fhirUser')
  await signIn(p, 'bob', bob, request)
  await look(p, 'consent-identity')
  await page.goto(`${base}/consent?request=${await ask('budget')}`)
  await look(p, 'consent')
  const token = await page.$('form.decision [name=token]')
  await token.evaluate(x => { x.value = 'x'.repeat(60) })
  await page.click('[value=allow]')
  await look(p, 'problem-form')
  await page.goto(`${base}/apps`)
  await look(p, 'apps-none')
  await page.goto(`${base}/nothing`)
  await look(p, 'problem-missing')
  await page.goto(`${base}/consent?request=gone`)
  await look(p, 'problem-expired')
  await page.goto(`${base}/oauth2/authorize?client_id=nobody&response_type=code`)
  await look(p, 'problem-client')
  await page.goto(`${base}/logout`)
  await page.click('main form button')
  request = await ask('budget')
  await signIn(p, 'nobody', nobody, request)
  await look(p, 'problem-nobody')
  await page.click('[value=deny]')
  await page.waitForURL(app + '/**')
  check(page.url().includes('error=access_denied'), `nobody (${lang}): ${page.url()}`)
  await p.context.close()
}

// keys uses the keyboard alone: from the app, through the login and the choice, to the app and to the end of it.
async function keys(lang) {
  const p = await person(lang)
  const {page} = p
  // to moves the focus to an element by Tab, and sees that each stop is visible.
  const to = async selector => {
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press('Tab')
      const at = await page.evaluate(s => {
        const e = document.activeElement
        const style = getComputedStyle(e)
        const box = e.getBoundingClientRect()
        return {
          there: e.matches(s), body: e === document.body, seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
          on: box.bottom > 0 && box.top < innerHeight && box.width > 0, html: e.outerHTML.slice(0, 120),
        }
      }, selector)
      if (!at.body) check(at.seen && at.on, `keyboard (${lang}): the focus cannot be seen on ${at.html}`)
      if (at.there) return
    }
    check(false, `keyboard (${lang}): no way to ${selector} on ${page.url()}`)
    throw new Error('no way')
  }
  const press = async (key, url) => {
    const done = url ? page.waitForURL(url) : page.waitForLoadState('load')
    await page.keyboard.press(key)
    await done
  }
  const request = await ask('budget')
  await page.goto(`${base}/consent?request=${request}`)
  await page.keyboard.press('Tab')
  check(await page.evaluate(() => document.activeElement.className) === 'skip', `keyboard (${lang}): the first stop does not skip`)
  await page.keyboard.press('Enter')
  await to('#login')
  await page.keyboard.type('ana')
  await to('#password')
  await page.keyboard.insertText(ana) // as a password manager pastes it
  await press('Enter', '**/consent?**')
  await to('[type=radio]')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await to('form[method=get] button')
  await press('Enter', '**member=**')
  await to('#kind-claims')
  await page.keyboard.press('Space')
  check(!await page.isChecked('#kind-claims'), `keyboard (${lang}): the box stays checked`)
  await to('[name=until]')
  await page.keyboard.press('ArrowUp')
  await to('summary')
  await page.keyboard.press('Enter')
  check(await page.evaluate(() => document.querySelector('details').open), `keyboard (${lang}): the details stay closed`)
  await to('[value=allow]')
  await press('Enter', app + '/**')
  check(/[?&]code=/.test(page.url()), `keyboard (${lang}): ${page.url()}`)
  await page.goto(`${base}/apps`)
  await to('.danger')
  await press('Enter', '**/apps/revoke?**')
  await to('.danger.full')
  await press('Enter', '**/apps?ended=1')
  await to('.tools button')
  await press('Enter', '**/logout')
  await p.context.close()
}

// flow sees that pages work as they do for people: a double click, Back, the other language, a form of another site.
async function flow() {
  const p = await person('en')
  const {page, context} = p
  let request = await ask('budget')
  await signIn(p, 'bob', bob, request)
  await page.click('nav [hreflang=es]')
  check(await page.evaluate(() => document.documentElement.lang) === 'es' && page.url().includes(request), 'the other language has lost the request')
  await page.click('nav [hreflang=en]')
  await page.dblclick('[value=allow]', {noWaitAfter: true})
  await page.waitForTimeout(1000)
  const title = await page.title()
  check(title === 'App' || title.startsWith('You have already decided'), 'a double click leads to ' + title)
  await page.goto(`${base}/consent?request=${request}`)
  check((await page.title()).startsWith('You have already decided'), 'Back leads to ' + await page.title())
  await page.goto(`${base}/apps`)
  check(await page.locator('.connected').count() === 1, `a double click has connected ${await page.locator('.connected').count()} apps`)

  // A page of another site that sends the form, and one that frames the page.
  request = await ask('budget')
  await page.goto(`${app}/evil?to=${encodeURIComponent(`${base}/consent`)}&request=${request}`)
  await page.click('button')
  await page.waitForLoadState('load')
  check((await page.title()).startsWith('This page was out of date'), 'a form of another site is accepted: ' + await page.title())
  await page.close()
  const framed = await context.newPage() // its errors are what is wanted
  await framed.goto(`${app}/frame?of=${encodeURIComponent(`${base}/consent?request=${request}`)}`)
  await framed.waitForTimeout(500)
  const texts = await Promise.all(framed.frames().slice(1).map(f => f.evaluate(() => document.body?.innerText ?? '').catch(() => '')))
  check(!texts.some(t => t.includes('Share')), 'the page can be framed')

  // An app opens the request in a window of its own, and hears from it when it comes back.
  const opener = await context.newPage()
  await opener.goto(`${app}/opener?of=${encodeURIComponent(`${base}/consent?request=${request}`)}`)
  const [popup] = await Promise.all([context.waitForEvent('page'), opener.click('button')])
  await popup.click('[value=allow]')
  await opener.waitForFunction(() => document.title === 'heard', null, {timeout: 5000}).catch(() => {})
  check(await opener.title() === 'heard', 'a window of an app has lost its opener')
  await context.close()
}

try {
  for (const lang of ['en', 'es']) {
    await every(lang, 'light')
    await keys(lang)
  }
  await every('en', 'dark')
  await flow()
} catch (e) {
  failed++
  console.log('FAILED ' + e.stack)
} finally {
  await chrome.close()
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
