// The portal's journeys in a sandbox that is running, in Chromium: node portal.mjs SANDBOX_JSON [PICTURES].
// Each page and state is examined once by axe-core and at 320 px; with PICTURES, a folder, there are pictures of it in
// three widths. It exits with 1 if anything is wrong. A second run needs a sandbox that was started anew.
import {createHash, randomBytes} from 'node:crypto'
import {readFileSync} from 'node:fs'
import {callback, check, code, complete, end, fill, follow, form, go, link, look, must, open, path, person, run, says, send, submit} from './browse.mjs'

const [settings, pictures = ''] = process.argv.slice(2)
const sandbox = JSON.parse(readFileSync(settings, 'utf8'))
const base = sandbox.portal.replace(/\/$/, ''), fhir = sandbox.fhir_base
const account = staff => sandbox.developers.find(d => staff ? d.staff : !d.staff)
const member = login => sandbox.members.find(m => m.login === login)
const mark = Date.now().toString(36)
const ada = {name: 'Ada Winter', email: `ada.${mark}@budget.example`, password: `winter-${mark}-garden`}
const secrets = new Set([ada.password]) // what nobody at the agency may ever see
const website = 'https://budget.example'

await open(pictures)
const app = await callback()
const servers = [base, app.origin]
const made = {} // what the journeys hand on

async function signIn(p, who) {
  await go(p, `${base}/developers/sign-in`)
  await look(p, 'sign-in')
  await submit(p, '/developers/sign-in', {email: who.email, password: who.password})
  await look(p, 'second-factor')
  await submit(p, '/developers/factor', {factor: await code(who.totp_key)})
  must(path(p) === '/developers', `${p.name} comes to ${path(p)}`)
}

// fresh proves again who somebody is, if a page asks for it.
async function fresh(p, who) {
  if (path(p) !== '/developers/reauth') return
  await look(p, 'prove-again')
  await submit(p, '/developers/reauth', {password: who.password, factor: await code(who.totp_key)})
}

// moves makes a move at the page of an application, as its links say.
async function moves(p, id, action, values = {}, who = account(true)) {
  const at = `/staff/applications/${id}/move/${action}`
  await go(p, `${base}/staff/applications/${id}`)
  const direct = form(p, at)
  if (!await direct.count()) {
    await follow(p, p.page.locator(`a[href="${at}"]`).first())
    await fresh(p, who)
    await look(p, `staff-move-${action}`)
  }
  await submit(p, at, values)
  await says(p, 'It is done.')
}

// signs signs a test member in for the app by the authorization code flow, and exchanges the code. The app is in
// production if its redirect URI is one that no test can serve; then the code is read where the browser is sent to.
async function signs(p, client, secret, redirect, login, {refused = false} = {}) {
  const url = new URL(made.smart.authorization_endpoint), verifier = randomBytes(32).toString('base64url')
  for (const [name, value] of Object.entries({response_type: 'code', client_id: client, redirect_uri: redirect, scope: 'launch/patient openid fhirUser patient/Patient.rs patient/Coverage.rs patient/ExplanationOfBenefit.rs', state: 'state-' + mark, aud: fhir,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256'})) url.searchParams.set(name, value)
  await p.page.goto(url.href)
  if (refused) return null
  if (await form(p, '/login').count()) await submit(p, '/login', {login, password: member(login).password})
  await p.page.locator('form.decision').waitFor()
  await look(p, redirect.startsWith('http:') ? 'consent-testing' : 'consent')
  const sent = p.page.waitForRequest(r => r.url().startsWith(redirect + '?'))
  await p.page.locator('form.decision button[value=allow]').click()
  const back = new URL((await sent).url()).searchParams
  for (let i = 0; i < 300 && !/^chrome-error:/.test(p.page.url()) && !p.page.url().startsWith(redirect); i++) await p.page.waitForTimeout(20) // until the browser has arrived, or given up
  must(back.get('state') === 'state-' + mark && back.get('code'), 'the app gets no code')
  const answer = await fetch(made.smart.token_endpoint, {
    method: 'POST', headers: {authorization: 'Basic ' + Buffer.from(`${client}:${secret}`).toString('base64')},
    body: new URLSearchParams({grant_type: 'authorization_code', code: back.get('code'), redirect_uri: redirect, code_verifier: verifier}),
  })
  const token = await answer.json()
  must(answer.status === 200 && token.access_token && token.patient === member(login).patient, `the code is not exchanged: ${answer.status} ${token.error}`)
  secrets.add(token.access_token)
  if (token.refresh_token) secrets.add(token.refresh_token)
  return token
}

const call = async (token, what) => fetch(`${fhir}/${what}`, {headers: {authorization: `Bearer ${token}`}})

// mailed finds a link in the mails that would be sent. Each is given out once.
const links = new Set()
async function mailed(r, pattern) {
  await go(r, `${base}/staff/mail`)
  await fresh(r, account(true))
  await r.page.locator('main details').evaluateAll(list => list.forEach(d => { d.open = true }))
  await look(r, 'staff-mail')
  const found = [...(await r.page.locator('main').innerText()).matchAll(new RegExp(pattern, 'g'))].map(m => m[0]).filter(u => !links.has(u))
  must(found.length === 1, `${found.length} mails have such a link`)
  links.add(found[0])
  return found[0]
}

async function visitor() {
  const p = await person('visitor', servers), {page} = p
  await go(p, base + '/')
  await says(p, 'Three steps')
  await look(p, 'home')
  // By the keyboard alone: past the menus, into the documentation, and to the other language.
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  check(await page.evaluate(() => document.activeElement.id) === 'main', 'the first link does not lead to the text')
  const tabTo = async what => {
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press('Tab')
      if (await page.evaluate(([name]) => document.activeElement.textContent.trim() === name, [what])) {
        check(await page.evaluate(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' || s.boxShadow !== 'none' }), `nobody sees the focus on ${what}`)
        await Promise.all([page.waitForEvent('framenavigated'), page.keyboard.press('Enter')])
        return page.waitForLoadState()
      }
    }
    throw new Error(`the keyboard does not reach ${what} on ${page.url()}`)
  }
  await tabTo('Make your first call')
  must(path(p) === '/docs/getting-started', `the first call is at ${path(p)}`)
  await look(p, 'docs-getting-started')
  check((await page.locator('main').innerText()).includes(fhir), 'the samples do not have the address of this sandbox')
  await go(p, base + '/docs')
  await look(p, 'docs')
  const pages = await page.locator('main a[href^="/docs/"]').evaluateAll(list => [...new Set(list.map(a => a.getAttribute('href').replace(/#.*/, '')))])
  check(pages.length >= 15, `there are ${pages.length} pages of documentation`)
  for (const at of pages) {
    const answer = await page.request.get(base + at)
    check(answer.status() === 200, `${at} answers ${answer.status()}`)
  }
  for (const [name, at, text] of [['docs-api', '/docs/api', 'ExplanationOfBenefit'], ['status', '/status', 'Everything works'], ['directory', '/apps-directory', ''], ['support', '/support', ''],
    ['support-contact', '/support/contact', ''], ['phr', '/phr', ''], ['choose-an-app', '/choose-an-app', '']]) {
    await go(p, base + at)
    if (text) await says(p, text)
    await look(p, name)
  }
  await go(p, base + '/docs/api')
  await tabTo('Español')
  check(await page.evaluate(() => document.documentElement.lang) === 'es', 'the language does not change')
  p.lang = 'es'
  await look(p, 'docs-api')
  for (const [name, at] of [['home', '/'], ['support', '/support'], ['phr', '/phr'], ['status', '/status']]) {
    await go(p, base + at)
    await look(p, name)
  }
  await page.locator('a[hreflang=en]').first().click()
  await page.waitForFunction(() => document.documentElement.lang === 'en')
  p.lang = 'en'
  // A request for support: what is missing is said at the field, what was typed stays, and a secret is not let through.
  await go(p, base + '/support/request')
  await look(p, 'support-request')
  await send(p, '/support/request', '', 422)
  check(await page.evaluate(() => document.activeElement.getAttribute('role')) === 'alert', 'the focus is not on what is wrong')
  await look(p, 'support-request-wrong')
  await complete(p, '/support/request', {email: 'vera@visitor.example'})
  await look(p, 'support-sent')
  for (const at of ['/developers', '/staff']) {
    await go(p, base + at)
    check(path(p) === '/developers/sign-in', `${at} leads a visitor to ${path(p)}`)
  }
  check((await p.context.cookies()).every(c => !/session|developer/.test(c.name) || c.value === ''), 'a visitor has a session')
  await p.context.close()
  const dark = await person('visitor at night', servers, {scheme: 'dark'})
  await go(dark, base + '/')
  await look(dark, 'home-dark')
  await dark.context.close()
}

async function register() {
  made.begun = Date.now()
  const p = made.ada = await person('Ada', servers), {page} = p
  await go(p, base + '/')
  await follow(p, link(p, 'Sign up'))
  await look(p, 'sign-up')
  await send(p, '/developers/sign-up', '', 422)
  await look(p, 'sign-up-wrong')
  await submit(p, '/developers/sign-up', {name: ada.name, email: ada.email, password: ada.password})
  await look(p, 'sign-up-sent')

  // Mail is off in a sandbox: the administrator reads what would be sent.
  const r = made.rita = await person('Rita', servers)
  await signIn(r, account(true))
  await go(p, await mailed(r, /http\S+\/developers\/confirm\?token=\S+/))
  await look(p, 'confirm')
  await submit(p, '/developers/confirm')
  await says(p, 'confirmed')
  await submit(p, '/developers/sign-in', {email: ada.email, password: ada.password})
  must(path(p) === '/developers/enrol', `without a second factor Ada comes to ${path(p)}`)
  await look(p, 'enrol')
  ada.totp_key = (await page.locator('main code').first().innerText()).replace(/ /g, '')
  secrets.add(ada.totp_key)
  await submit(p, '/developers/enrol', {factor: await code(ada.totp_key)})
  await look(p, 'recovery-codes')
  for (const c of await page.locator('.codes code').allInnerTexts()) secrets.add(c)
  must(await page.locator('.codes code').count() === 10, 'there are not ten recovery codes')
  await follow(p, page.locator('main a.button').first())
  await look(p, 'dashboard-new')

  await follow(p, page.locator('main section.card a.button').first())
  await look(p, 'organisation-choice')
  await follow(p, page.locator('a[href*="solo=no"]').first())
  await look(p, 'organisation-new')
  await submit(p, '/developers/organisations/new', {legal: 'Budget Inc.', name: `Budget ${mark}`, type: 'company', website, us: 'yes', hipaa: 'none', address: '1 Main Street\nRaleigh, NC 27601'})
  made.org = path(p).split('/')[3]
  await look(p, 'organisation')
  await go(p, `${base}/developers/organisations/${made.org}/contacts`)
  await look(p, 'contacts')
  await submit(p, `/developers/organisations/${made.org}/contacts`, {'primary.name': ada.name, 'primary.email': ada.email, 'security.name': ada.name, 'security.email': ada.email})
  await go(p, base + '/developers')
  await follow(p, page.locator('main section.card a.button').first())
  await look(p, 'terms')
  await send(p, '/developers/terms', '', 422)
  await submit(p, '/developers/terms', {accept: true})
}

const pdf = Buffer.from('%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n')
let uploaded = 0

// answers fills in all sections of an application, and comes to the page on which it is sent.
async function answers(p, id, name, values = {}) {
  const {page} = p, at = `/developers/applications/${id}/edit`, seen = new Set()
  for (let i = 0; i < 60 && path(p) === at; i++) {
    const section = await form(p, at).locator('[name=section]').inputValue()
    if (!seen.has(section)) await look(p, `${name}-${section}`)
    seen.add(section)
    const there = await form(p, at).locator('[name]').evaluateAll(list => list.map(e => e.name))
    await fill(p, at, Object.fromEntries(Object.entries(values).filter(([n]) => there.includes(n))), {all: true})
    for (const file of await form(p, at).locator('.field:not(:has(.files)) input[type=file]').all()) {
      await file.setInputFiles({name: 'report.pdf', mimeType: 'application/pdf', buffer: pdf})
      uploaded++
    }
    await send(p, at, 'next')
  }
  must(path(p) === `/developers/applications/${id}/submit`, `the questions lead to ${path(p)}: ${(await page.locator('main').innerText()).slice(0, 300)}`)
  await look(p, `${name}-submit`)
  const lacks = page.locator('section[aria-labelledby=lacks]')
  must(!await lacks.count(), `it cannot be submitted: ${(await lacks.allInnerTexts()).join(' ')}`)
  return seen.size
}

async function questionnaire() {
  const p = made.ada, r = made.rita, {page} = p
  await go(p, base + '/developers')
  await submit(p, `/developers/organisations/${made.org}/sandbox`)
  made.questionnaire = path(p).split('/')[3]
  if (!path(p).endsWith('/edit')) await follow(p, page.locator(`a[href^="/developers/applications/${made.questionnaire}/edit"]`).first())
  // A draft, later.
  const edit = `/developers/applications/${made.questionnaire}/edit`
  await fill(p, edit, {app_name: 'Health Budget'})
  await send(p, edit, 'later')
  await look(p, 'application-draft')
  await go(p, base + '/developers')
  await look(p, 'dashboard-draft')
  await follow(p, page.locator('main section.card a.button').first())
  must(await form(p, edit).locator('[name=app_name]').inputValue() === 'Health Budget', 'the draft is lost')
  await answers(p, made.questionnaire, 'questionnaire', {stores_data: 'server', volume: 'up_to_1000', help_text: null})
  await submit(p, `/developers/applications/${made.questionnaire}/submit`)
  await look(p, 'application-submitted')

  await go(r, base + '/staff')
  await look(r, 'staff-queue')
  await says(r, made.questionnaire)
  await moves(r, made.questionnaire, 'take')
  await look(r, 'staff-application')
  await moves(r, made.questionnaire, 'ask', {reason: 'Which company runs your servers?'})
  await go(p, base + '/developers')
  await look(p, 'dashboard-asked')
  await go(p, `${base}/developers/applications/${made.questionnaire}`)
  await says(p, 'Which company runs your servers?')
  await look(p, 'application-asked')
  await go(p, `${base}${edit}?section=data`)
  await fill(p, edit, {hosting: 'Example Cloud, region east'})
  await send(p, edit, 'later')
  await go(p, `${base}/developers/applications/${made.questionnaire}/submit`)
  await submit(p, `/developers/applications/${made.questionnaire}/submit`)
  await go(r, `${base}/staff/applications/${made.questionnaire}/changes`)
  await says(r, 'region east')
  await look(r, 'staff-changes')
  await moves(r, made.questionnaire, 'approve')
  await go(p, base + '/developers')
  await look(p, 'dashboard-approved')
}

const scopes = page => page.locator('input[name^="scope-"]').evaluateAll(list => Object.fromEntries(list.flatMap(e => [[e.name, true], [e.name.replace('scope', 'reason'), 'It shows what care has cost.']])))

async function firstCall() {
  const p = made.ada, {page} = p
  const at = `/developers/organisations/${made.org}/apps/new`
  await follow(p, page.locator('main section.card a.button').first())
  must(path(p) === at, `the dashboard leads to ${path(p)}`)
  await look(p, 'app-new')
  await submit(p, at, {name: `Health Budget ${mark}`, kind: 'web', auth: 'client_secret', redirect_uris: app.uri, homepage: website, about_en: 'It adds up what care has cost you.', about_es: 'Suma lo que le costó la atención.',
    platforms: ['web', 'ios'], audience: 'adults', category: 'months_13', support: 'help@budget.example', ...await scopes(page)})
  made.app = path(p).split('/')[3]
  must(/^\/developers\/apps\/[^/]+$/.test(path(p)), `the new app is at ${path(p)}`)
  await look(p, 'app')
  await go(p, base + '/developers')
  await follow(p, page.locator('main section.card a.button').first())
  await look(p, 'credentials')
  await send(p, `/developers/apps/${made.app}/sandbox/issue`, '', 0)
  await fresh(p, ada)
  if (!await page.locator('#secret').count()) await send(p, `/developers/apps/${made.app}/sandbox/issue`)
  await look(p, 'credentials-made')
  made.secret = (await page.locator('#secret').innerText()).trim()
  must(made.secret.startsWith('cfh_test_'), 'there is no secret of the sandbox')
  secrets.add(made.secret)
  made.client = (await page.locator('dl.facts code').first().innerText()).trim()
  must(made.client.startsWith('test-'), `the client is ${made.client}`)
  await go(p, `${base}/developers/apps/${made.app}/sandbox/credentials`)
  check(!(await page.content()).includes(made.secret), 'the secret is shown twice')
  await go(p, `${base}/developers/apps/${made.app}/members`)
  await look(p, 'test-members')
  await says(p, member('elena').password)

  made.smart = await (await fetch(`${fhir}/.well-known/smart-configuration`)).json()
  const token = made.token = await signs(p, made.client, made.secret, app.uri, 'elena')
  const got = await (await call(token.access_token, `Patient/${token.patient}`)).json()
  must(got.id === token.patient, 'the API call fails')
  console.log(`from the landing page to an API call: ${((Date.now() - made.begun) / 60000).toFixed(1)} minutes of the machine`)
  check(Date.now() - made.begun < 10 * 60000, 'it took ten minutes and more')
  must((await (await call(token.access_token, `ExplanationOfBenefit?patient=${token.patient}`)).json()).total > 0, 'there are no claims')
}

async function console_() {
  const p = made.ada, {page} = p
  await go(p, `${base}/developers/apps/${made.app}/console`)
  await page.locator('#console-type option').first().waitFor({state: 'attached'})
  await page.locator('#console-begin').click()
  await page.waitForURL(u => /^\/(login|consent)/.test(u.pathname))
  if (await form(p, '/login').count()) await submit(p, '/login', {login: 'grace', password: member('grace').password})
  if (await page.locator('input[type=radio][name=member]').count()) {
    await page.locator('input[type=radio][name=member]').first().check()
    await follow(p, page.locator('form:has(input[name=choose]) button').first())
  }
  await look(p, 'consent-console')
  await page.locator('form.decision button[value=allow]').click()
  await page.waitForURL(u => u.pathname.endsWith('/console') && u.pathname.includes('/apps/'))
  await page.waitForFunction(() => document.querySelector('#console-path').value.startsWith('Patient/'))
  await page.locator('#console-send').click()
  await page.waitForFunction(() => document.querySelector('#console-code').textContent.includes('200'))
  await look(p, 'console')
  check((await page.locator('#console-body').innerText()).includes('Patient'), 'the console does not show the record')

  // The log of requests has what the app did, by route, and no value. It is written a little later.
  for (let i = 0; i < 40; i++) {
    await go(p, `${base}/developers/apps/${made.app}/requests`)
    if ((await page.locator('main').innerText()).includes('/ExplanationOfBenefit')) break
    await page.waitForTimeout(250)
  }
  await says(p, '/Patient/{id}')
  await says(p, '/ExplanationOfBenefit')
  check(!(await page.content()).includes(made.token.patient), 'the log has the id of a member')
  await look(p, 'requests')
}

async function production() {
  const p = made.ada, r = made.rita, {page} = p
  await go(p, `${base}/developers/apps/${made.app}/edit`)
  await look(p, 'app-edit')
  const edit = `/developers/apps/${made.app}/edit`
  await submit(p, edit, {redirect_uris: `${website}/callback`, policy: `${website}/privacy`, terms: `${website}/terms`})
  await submit(p, `/developers/apps/${made.app}/production`)
  made.production = path(p).split('/')[3]
  await go(p, `${base}/developers/applications/${made.production}`)
  await look(p, 'production-checklist')
  await says(p, /sandbox/i)
  await go(p, `${base}/developers/applications/${made.production}/edit`)
  const n = await answers(p, made.production, 'production', {
    policy_url: `${website}/privacy`, terms_url: `${website}/terms`, policy_form: 'pasted', policy_text: 'We collect what you share with us, and nothing else.\n'.repeat(20),
    terms_form: 'pasted', terms_text: 'You may stop using the app at any time.\n'.repeat(20), monetise: 'no',
  })
  must(n > 5 && uploaded > 0, `the application for production has ${n} sections, and ${uploaded} documents`)
  const at = `/developers/applications/${made.production}/submit`
  await send(p, at, '', 422)
  await look(p, 'production-submit-wrong')
  const ticks = await form(p, at).locator('input[type=checkbox]').evaluateAll(list => list.map(e => e.name))
  must(ticks.length > 5, 'there are no statements to make')
  await submit(p, at, {signer_title: 'Founder', ...Object.fromEntries(ticks.map(name => [name, true]))})
  await look(p, 'production-submitted')

  await moves(r, made.production, 'take')
  await moves(r, made.production, 'start_review')
  await look(r, 'staff-production')
  await appeal(p, r)
  await says(r, 'Evidence from the sandbox')
  const list = `/staff/applications/${made.production}/checklist`
  await go(r, base + list)
  await look(r, 'staff-checklist')
  await submit(r, list, {domain: 'met', domain_note: 'DNS record seen', policy_sharing: 'met', policy_sharing_evidence: null})
  await says(r, 'The checklist is saved.')
  await go(r, `${base}/staff/applications/${made.production}/messages`)
  await look(r, 'staff-messages')
  await moves(r, made.production, 'sign_security', {note: 'The report is fine.'})
  await moves(r, made.production, 'sign_privacy')
  await moves(r, made.production, 'propose', {note: 'All in order.'})
  await moves(r, made.production, 'approve', {conditions: 'Tell us of each incident within a day.'})
  await go(p, `${base}/developers/applications/${made.production}`)
  await says(p, 'Tell us of each incident within a day.')
  await look(p, 'production-approved')
}

// appeal denies the application, and lets somebody who took no part in it look at it again: a second administrator.
async function appeal(p, r) {
  const {production: id} = made
  await moves(r, id, 'propose_deny', {criterion: {index: 1}, reason: 'We do not find the publisher.'})
  await moves(r, id, 'deny')
  await go(p, `${base}/developers/applications/${id}`)
  await says(p, 'We do not find the publisher.')
  await look(p, 'production-denied')
  await follow(p, p.page.locator(`a[href$="/move/appeal"]`).first())
  await look(p, 'production-appeal')
  await submit(p, `/developers/applications/${id}/move/appeal`, {reason: 'We are in the register of North Carolina.'})
  await go(r, `${base}/staff/applications/${id}`)
  check(!await r.page.locator('a[href$="/move/overturn"]').count(), 'who has denied may decide the appeal')
  await go(r, `${base}/staff/people?q=dana`)
  await follow(r, r.page.locator('main table a').first())
  await look(r, 'staff-person')
  await fill(r, path(r) + '/role', {role: 'administrator'})
  await send(r, path(r) + '/role', '', 0)
  await fresh(r, account(true))
  const d = await person('Dana', servers)
  await signIn(d, account(false))
  await moves(d, id, 'overturn', {reason: 'The register has them.'}, account(false))
  await d.context.close()
  await moves(r, id, 'start_review')
}

async function credentials() {
  const p = made.ada, {page} = p
  await go(p, base + '/developers')
  await look(p, 'dashboard-production')
  await go(p, `${base}/developers/applications/${made.production}/move/issue`)
  await fresh(p, ada)
  await look(p, 'production-issue')
  await submit(p, `/developers/applications/${made.production}/move/issue`)
  const at = `/developers/apps/${made.app}/production`
  await go(p, `${base}${at}/credentials`)
  await look(p, 'production-credentials')
  if (await form(p, `${at}/issue`).count()) await send(p, `${at}/issue`, '', 0)
  await fresh(p, ada)
  if (!await page.locator('#secret').count()) await send(p, `${at}/issue`)
  const first = (await page.locator('#secret').innerText()).trim()
  secrets.add(first)
  must(first.startsWith('cfh_live_'), 'the secret is not one of production')
  made.live = (await page.locator('dl.facts code').first().innerText()).trim()
  must(made.live.startsWith('live-') && made.live !== made.client, `the client is ${made.live}`)

  // Rotated with an overlap: both secrets are good.
  await go(p, `${base}${at}/rotate`)
  await fresh(p, ada)
  await look(p, 'rotate')
  await submit(p, `${at}/rotate`, {overlap: '24'})
  await look(p, 'rotated')
  made.liveSecret = (await page.locator('#secret').innerText()).trim()
  secrets.add(made.liveSecret)
  await go(p, `${base}${at}/credentials`)
  check(await page.locator('tbody tr').count() === 2, 'there are not two secrets')
  const m = made.member = await person('Elena', [...servers, website])
  for (const [login, secret] of [['samuel', first], ['elena', made.liveSecret]]) {
    await m.context.clearCookies()
    made.liveToken = await signs(m, made.live, secret, `${website}/callback`, login)
    must((await call(made.liveToken.access_token, `Patient/${made.liveToken.patient}`)).status === 200, `a secret of two does not work`)
  }
  // A client of the sandbox is none of production.
  const mixed = await fetch(made.smart.token_endpoint, {method: 'POST', headers: {authorization: 'Basic ' + Buffer.from(`${made.live}:${made.secret}`).toString('base64')}, body: new URLSearchParams({grant_type: 'authorization_code', code: 'x', redirect_uri: `${website}/callback`})})
  check(mixed.status === 401, `the secret of the sandbox is taken for production: ${mixed.status}`)

  await go(p, `${base}/developers/applications/${made.production}`)
  const live = p.page.locator('a[href$="/move/go_live"]').first()
  if (await live.count()) {
    await follow(p, live)
    await submit(p, `/developers/applications/${made.production}/move/go_live`)
  }
  await look(p, 'production-live')
  const v = await person('visitor of the directory', servers)
  await go(v, base + '/apps-directory')
  await says(v, `Health Budget ${mark}`)
  await look(v, 'directory-with-an-app')
  await v.context.close()
}

async function members() {
  const m = made.member, {page} = m
  await go(m, `${base}/apps`)
  await says(m, `Health Budget ${mark}`)
  await says(m, `Budget ${mark}`)
  await look(m, 'connected-apps')
  await follow(m, page.locator('a[href^="/apps/complain?grant="]').first())
  await look(m, 'complaint')
  await complete(m, '/apps/complain')
  await look(m, 'complained')
}

async function cutOff() {
  const p = made.ada, r = made.rita, token = made.liveToken
  const reads = async () => (await call(token.access_token, `Patient/${token.patient}`)).status
  must(await reads() === 200, 'the app does not work before it is suspended')
  await moves(r, made.production, 'suspend', {criterion: {index: 1}, reason: 'Keys have leaked.'})
  check(await reads() === 401, `the token of a suspended app is answered by ${await reads()}`)
  await look(r, 'staff-suspended')
  await go(p, `${base}/developers/applications/${made.production}`)
  await says(p, 'Keys have leaked.')
  await look(p, 'production-suspended')
  await moves(r, made.production, 'reinstate', {reason: 'The keys are new.'})
  await made.member.context.clearCookies()
  const again = await signs(made.member, made.live, made.liveSecret, `${website}/callback`, 'elena')
  check((await call(again.access_token, `Patient/${again.patient}`)).status === 200, 'a reinstated app does not work')
}

async function forms() {
  const p = await person('Pablo', servers, {lang: 'es'}), {page} = p, r = made.rita
  const email = `pablo.${mark}@phr.example`
  await go(p, base + '/phr')
  await send(p, '/phr', '', 422)
  await look(p, 'phr-wrong')
  await complete(p, '/phr', {name: `Mi Salud ${mark}`, publisher: 'Pablo Ruiz', contact_email: email, website: 'https://phr.example', redirect_uri: 'https://phr.example/back', policy_url: 'https://phr.example/privacy', terms_url: 'https://phr.example/terms',
    client_kind: 'public'}, 'review')
  await look(p, 'phr-review')
  await send(p, '/phr', 'send')
  await look(p, 'phr-sent')
  const number = (await page.locator('#number').innerText()).trim(), key = (await page.locator('#key').innerText()).trim()
  secrets.add(key)
  const first = await mailed(r, /http\S+\/phr\/confirm\?token=\S+/)
  await go(p, first)
  await look(p, 'phr-confirm')
  await submit(p, '/phr/confirm')
  await look(p, 'phr-confirmed')
  await go(p, base + '/phr/status')
  await look(p, 'phr-status')
  await submit(p, '/phr/status', {number, key})
  await look(p, 'phr-track')
  await go(r, base + '/staff')
  await says(r, number)

  // RFC 7591, into the same queue.
  const answer = await fetch(made.smart.registration_endpoint, {method: 'POST', headers: {'content-type': 'application/json'},
    body: JSON.stringify({client_name: `Registered ${mark}`, redirect_uris: ['https://registered.example/back'], client_uri: 'https://registered.example', policy_uri: 'https://registered.example/privacy', tos_uri: 'https://registered.example/terms', contacts: ['dev@registered.example'], token_endpoint_auth_method: 'none'})})
  must(answer.status === 201, `a registration is answered by ${answer.status}`)
  const registered = await answer.json()
  await go(p, await mailed(r, /http\S+\/phr\/confirm\?token=\S+/))
  await submit(p, '/phr/confirm')
  await go(r, base + '/staff')
  await says(r, `Registered ${mark}`)
  await look(r, 'staff-queue-forms')
  await p.page.goto(`${made.smart.authorization_endpoint}?response_type=code&client_id=${registered.client_id}&redirect_uri=${encodeURIComponent('https://registered.example/back')}`)
  check(p.status >= 400, `an app that nobody has approved is answered by ${p.status}`)

  made.pablo = {number, key, email, page: p}
}

async function claimed() {
  const p = made.ada, {number, key} = made.pablo
  await go(p, `${base}/developers/organisations/${made.org}/claim`)
  await look(p, 'claim')
  await submit(p, `/developers/organisations/${made.org}/claim`, {number, key}, {status: 422})
  await look(p, 'claim-of-another')
  check(!path(p).includes(number), 'somebody with another address has taken the application')

  // One with her own address is hers: nothing is typed twice.
  await go(p, base + '/phr')
  await complete(p, '/phr', {name: `Side Project ${mark}`, contact_email: ada.email, redirect_uri: `${website}/side`, policy_url: `${website}/privacy`, terms_url: `${website}/terms`, website, client_kind: 'secret'}, 'review')
  await send(p, '/phr', 'send')
  const own = {number: (await p.page.locator('#number').innerText()).trim(), key: (await p.page.locator('#key').innerText()).trim()}
  await go(p, await mailed(made.rita, /http\S+\/phr\/confirm\?token=\S+/))
  await submit(p, '/phr/confirm')
  await go(p, `${base}/developers/organisations/${made.org}/claim`)
  await submit(p, `/developers/organisations/${made.org}/claim`, own)
  must(path(p) === `/developers/applications/${own.number}`, `a form that is claimed leads to ${path(p)}`)
  await look(p, 'claimed')
  await follow(p, link(p, `Side Project ${mark}`))
  const edit = path(p) + '/edit'
  await go(p, base + edit)
  check((await form(p, edit).locator('[name=about_en]').inputValue()).startsWith('It adds up what care has cost'), 'what was typed into the form is lost')
}

async function denied() {
  const r = made.rita, number = made.pablo.number
  await moves(r, number, 'take')
  await moves(r, number, 'start_review')
  await moves(r, number, 'propose_deny', {criterion: {index: 1}, reason: 'The publisher cannot be reached.'})
  await moves(r, number, 'deny')
  const p = made.pablo.page
  await go(p, base + '/phr/status')
  await submit(p, '/phr/status', {number, key: made.pablo.key})
  await look(p, 'phr-denied')
}

async function office() {
  const r = made.rita, {page} = r
  for (const [name, at] of [['staff-apps', '/staff/apps'], ['staff-app', `/staff/apps/${made.app}`], ['staff-organisations', '/staff/organisations'], ['staff-organisation', `/staff/organisations/${made.org}`],
    ['staff-people', '/staff/people'], ['staff-tickets', '/staff/tickets'], ['staff-audit', '/staff/audit'], ['staff-letters', '/staff/letters'], ['staff-history', `/staff/applications/${made.production}/history`],
    ['staff-production-live', `/staff/applications/${made.production}`], ['staff-revision', `/staff/applications/${made.production}/revisions/1`]]) {
    await go(r, base + at)
    await fresh(r, account(true))
    await look(r, name)
  }
  await go(r, base + '/staff/tickets')
  await follow(r, page.locator('main table a').first())
  await look(r, 'staff-ticket')
  await go(r, `${base}/staff?view=all`)
  await look(r, 'staff-queue-all')
  await go(r, base + '/staff')
  const csv = await r.context.request.get(base + '/staff/export.csv?view=all')
  const table = await csv.text()
  must(csv.status() === 200 && csv.headers()['content-type'].startsWith('text/csv'), `the export is answered by ${csv.status()}`)
  must(table.includes(made.production) && table.includes(made.questionnaire), 'the export lacks applications')
  r.seen.push(table)
  check(r.seen.length > 25, 'few pages of staff were seen')
  for (const text of r.seen) {
    for (const secret of secrets) check(!text.includes(secret), 'staff have seen a secret or a token')
    for (const m of sandbox.members) check(!text.includes(m.patient), 'staff have seen the id of a member')
  }
  const p = made.ada
  await go(p, base + '/staff', 404)
  await go(p, `${base}/developers/profile`)
  await look(p, 'profile')
  await go(p, `${base}/developers/organisations/${made.org}/people`)
  await look(p, 'people')
  await go(p, `${base}/developers/organisations/${made.org}/history`)
  await look(p, 'history')
  await go(p, `${base}/developers/apps/${made.app}`)
  await look(p, 'app-live')
  const night = await p.context.newPage()
  await night.emulateMedia({colorScheme: 'dark'})
  const q = {...p, page: night, scheme: 'dark', seen: []}
  night.on('response', a => { if (a.request().isNavigationRequest()) q.status = a.status() })
  await go(q, base + '/developers')
  await look(q, 'dashboard-dark')
  await go(q, `${base}/developers/applications/${made.production}`)
  await look(q, 'production-live-dark')
  await night.close()
  await go(p, base + '/developers')
  await follow(p, page === p.page ? page : p.page.locator('form[action="/developers/sign-out"] button').first())
  check(path(p) === '/developers/sign-in', `signing out leads to ${path(p)}`)
}

await run([
  ['visitor', [], visitor],
  ['register', [], register],
  ['questionnaire', ['register'], questionnaire],
  ['first call', ['questionnaire'], firstCall],
  ['console', ['first call'], console_],
  ['production', ['first call'], production],
  ['credentials', ['production'], credentials],
  ['members', ['credentials'], members],
  ['cut off', ['credentials'], cutOff],
  ['forms without an account', ['first call'], forms],
  ['a form of somebody else', ['forms without an account'], claimed],
  ['a denied form', ['forms without an account'], denied],
  ['office', ['credentials'], office],
])
app.close()
await end()
