// The portal as an agency sets it up, in Chromium: node agency.mjs SANDBOX_JSON PROGRAM WORK [PICTURES].
// The sandbox is another process with accounts of its own; it is running, and its sandbox.json is beside its store. In
// WORK the agency's folder is made: colours, logo, name, pages, a letter and a question of its own. Mail goes to a server
// in this process. It exits with 1 if anything is wrong.
import {execFileSync, spawn} from 'node:child_process'
import {createHash, randomBytes} from 'node:crypto'
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs'
import {createServer} from 'node:net'
import {dirname, join} from 'node:path'
import {SMTPServer} from 'smtp-server'
import {callback, check, code, end, fill, follow, form, go, look, must, open, path, person, run, says, send, submit} from './browse.mjs'

const [settings, program, work, pictures = ''] = process.argv.slice(2)
const sandbox = JSON.parse(readFileSync(settings, 'utf8')), place = dirname(settings)
const elena = sandbox.members.find(m => m.login === 'elena')
const staff = {email: 'grace@harbor.example', password: 'harbor-lights-at-night'}
const solo = {name: 'Sam Lone', email: 'sam@lone.example', password: 'one-person-many-apps'}

// The mail server keeps what it is given, as text.
const mails = []
const smtp = new SMTPServer({
  disabledCommands: ['AUTH', 'STARTTLS'],
  onData(stream, session, done) {
    let text = ''
    stream.setEncoding('utf8')
    stream.on('data', part => { text += part })
    stream.on('end', () => {
      mails.push({to: session.envelope.rcptTo.map(r => r.address), text: plain(text)})
      done()
    })
  },
})
await new Promise(r => smtp.listen(0, '127.0.0.1', r))

// plain is a mail as it is read: quoted-printable and base64 decoded.
function plain(text) {
  const [head, ...body] = text.split('\r\n\r\n')
  const rest = body.join('\r\n\r\n')
  if (/base64/i.test(head)) return head + '\n\n' + Buffer.from(rest, 'base64').toString('utf8')
  if (!/quoted-printable/i.test(head)) return text
  return head + '\n\n' + Buffer.from(rest.replace(/=\r?\n/g, '').replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))), 'latin1').toString('utf8')
}

// mail waits for a mail to somebody that has a text.
async function mail(to, pattern) {
  for (let i = 0; i < 100; i++) {
    const found = mails.filter(m => m.to.includes(to)).map(m => m.text.match(pattern)).find(m => m)
    if (found) return found[0]
    await new Promise(r => setTimeout(r, 100))
  }
  throw new Error(`no mail to ${to} has ${pattern}; there are ${mails.length} mails`)
}

async function freePort() {
  const s = createServer()
  await new Promise(r => s.listen(0, '127.0.0.1', r))
  const {port} = s.address()
  await new Promise(r => s.close(r))
  return port
}

const port = await freePort(), base = `http://127.0.0.1:${port}`
const folder = join(work, 'portal')
const write = (name, text) => {
  mkdirSync(dirname(join(folder, name)), {recursive: true})
  writeFileSync(join(folder, name), text)
}
write('name.txt', 'Harbor State Health\n')
write('name.es.txt', 'Salud del Estado de Harbor\n')
write('brand.css', ':root { --main: #6b2346; --top: #4a1530; }\n@media (prefers-color-scheme: dark) { :root { --main: #f0a8c8; } }\n')
write('logo.svg', '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 36"><rect width="72" height="36" rx="6" fill="#ffffff"/><path d="M8 26h56l-8 6H16z" fill="#6b2346"/><path d="M34 6v18H14z" fill="#d08aa8"/></svg>\n')
for (const [lang, title, summary, group] of [['en', 'Questions about Harbor', 'What developers ask us.', 'Help'], ['es', 'Preguntas sobre Harbor', 'Lo que nos preguntan.', 'Ayuda']]) {
  write(`pages/${lang}/faq.md`, `---\ntitle: ${title}\nsummary: ${summary}\ngroup: ${group}\norder: 400\n---\n\n## Harbor {#harbor}\n\nHarbor answers here.\n`)
  write(`pages/${lang}/office-hours.md`, `---\ntitle: ${lang === 'en' ? 'Office hours' : 'Horario'}\nsummary: ${summary}\ngroup: ${group}\norder: 410\n---\n\n## Harbor {#harbor}\n\nHarbor: 9–17.\n`)
}
write('letters/en/application_approve.txt', 'Subject: Welcome to Harbor, {{.Number}}\n\nHello from the Harbor team. {{.App}} may begin.{{if .Link}}\n\n{{.Link}}{{end}}\n')
write('forms/questionnaire.add.yaml', 'form: questionnaire\nsections:\n  - id: project\n    title: {en: "-", es: "-"}\n    questions:\n      - {id: harbor_county, kind: text, required: true, label: {en: "Which county of Harbor?", es: "¿Qué condado de Harbor?"}}\n')
writeFileSync(join(work, 'serve.yaml'), `store: ${work}/store
listen: 127.0.0.1:${port}
admin: ""
base: ${base}/fhir
authorization_server:
  enabled: true
  agency: {name: "Harbor State Health", phone: "1-800-555-0100", tty: "711", zone: America/New_York}
  login: {passwords: true}
portal:
  enabled: true
  folder: ${folder}
  sandbox: {base: "${sandbox.fhir_base}", store: "${place}/fhir-store", members: "${settings}"}
  login: {passwords: true}
  rules: {four_eyes: true, sandbox_review: manual}
  mail: {server: "127.0.0.1:${smtp.server.address().port}", from: "Harbor State Health <no-reply@harbor.example>", tls: none}
  support: {community: "https://groups.harbor.example/api", desk: "Harbor technical desk", contact: "api@harbor.example", post: "1 Harbor Road, Port City"}
`)
const does = (args, input = '') => execFileSync(program, args, {input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'inherit']})
does(['load', '--quiet', '--id-key', join(place, 'id-key'), '--manifest', join(work, 'manifest.json'), '--to', `store:${work}/store`, join(place, 'extract')])
const server = spawn(program, ['serve', '--config', join(work, 'serve.yaml')], {stdio: ['ignore', 'ignore', 'pipe']})
let said = ''
server.stderr.on('data', b => { said += b })
const stopped = new Promise(r => server.on('exit', r))
process.on('exit', () => server.kill('SIGKILL'))
for (let i = 0; i < 300; i++) {
  if (await fetch(base + '/status').then(r => r.ok, () => false)) break
  if (server.exitCode !== null) throw new Error(`the server ends: ${said}`)
  await new Promise(r => setTimeout(r, 100))
}

await open(pictures)
const app = await callback()
const servers = [base, sandbox.issuer, app.origin]
const made = {}

async function visitor() {
  const p = await person('visitor of Harbor', servers), {page} = p
  await go(p, base + '/')
  await look(p, 'harbor-home')
  check(await page.locator('.agency').first().innerText() === 'Harbor State Health', 'the name is not the agency’s')
  check(await page.locator('header.top').evaluate(e => getComputedStyle(e).backgroundColor) === 'rgb(74, 21, 48)', 'the colours are not the agency’s')
  check((await page.locator('.agency img').getAttribute('src')).includes('logo'), 'the logo is not the agency’s')
  for (const [name, at, text] of [['harbor-faq', '/docs/faq', 'Harbor answers here.'], ['harbor-added', '/docs/office-hours', 'Harbor: 9–17.'], ['harbor-support', '/support', 'Harbor technical desk'], ['harbor-status', '/status', 'Sandbox']]) {
    await go(p, base + at)
    await says(p, text)
    await look(p, name)
  }
  await go(p, base + '/docs')
  await says(p, 'Office hours')
  await go(p, base + '/docs/getting-started')
  check((await page.locator('main').innerText()).includes(sandbox.fhir_base), 'the samples do not lead to the sandbox')
  await go(p, base + '/docs/faq?lang=es')
  p.lang = 'es'
  await says(p, 'Salud del Estado de Harbor')
  await look(p, 'harbor-faq')
  await go(p, base + '/developers/sign-in?lang=es')
  check(!(await page.content()).includes('rita@'), 'accounts of a sandbox are shown')
  await p.context.close()
}

async function developer() {
  const p = made.sam = await person('Sam', servers), {page} = p
  await go(p, base + '/developers/sign-up')
  await submit(p, '/developers/sign-up', solo)
  // The same address again gets the same page, and another mail.
  await go(p, base + '/developers/sign-up')
  await go(p, await mail(solo.email, /http\S+\/developers\/confirm\?token=\S+/))
  await submit(p, '/developers/confirm')
  await submit(p, '/developers/sign-in', {email: solo.email, password: solo.password})
  solo.totp_key = (await page.locator('main code').first().innerText()).replace(/ /g, '')
  await submit(p, '/developers/enrol', {factor: await code(solo.totp_key)})
  await go(p, base + '/developers/organisations/new?solo=yes')
  await look(p, 'organisation-solo')
  await submit(p, '/developers/organisations/new', {name: 'Sam Lone', us: 'yes', hipaa: 'none'})
  made.org = path(p).split('/')[3]
  await go(p, base + '/developers')
  await follow(p, page.locator('main section.card a.button').first())
  await submit(p, '/developers/terms', {accept: true})
  await submit(p, `/developers/organisations/${made.org}/sandbox`)
  made.id = path(p).split('/')[3]
  const at = `/developers/applications/${made.id}/edit`
  await go(p, base + at)
  let asked = false
  for (let i = 0; i < 20 && path(p) === at; i++) {
    if (await form(p, at).locator('[name=harbor_county]').count()) {
      asked = true
      await look(p, 'harbor-questionnaire')
    }
    await fill(p, at, {}, {all: true})
    await send(p, at, 'next')
  }
  check(asked, 'the agency’s question is not asked')
  await submit(p, `/developers/applications/${made.id}/submit`)
  await mail(staff.email, new RegExp(made.id))
}

async function reviewer() {
  const key = does(['portal', 'user', 'list', '--output', 'json', '--config', join(work, 'serve.yaml')])
  check(key.includes(staff.email) && !key.includes(staff.password), 'the list of people is another one')
  const r = await person('Grace', servers)
  await go(r, base + '/developers/sign-in?next=/staff')
  await submit(r, '/developers/sign-in', {email: staff.email, password: staff.password})
  await submit(r, '/developers/factor', {factor: await code(staff.totp_key)})
  must(path(r) === '/staff', `the reviewer comes to ${path(r)}`)
  await look(r, 'harbor-queue')
  for (const action of ['take', 'approve']) {
    const at = `/staff/applications/${made.id}/move/${action}`
    await go(r, `${base}/staff/applications/${made.id}`)
    if (action === 'take') await says(r, 'Which county of Harbor?')
    if (!await form(r, at).count()) await go(r, base + at)
    await send(r, at)
  }
  await mail(solo.email, /Hello from the Harbor team/)
  await r.context.close()
}

async function ownSandbox() {
  const p = made.sam, {page} = p, at = `/developers/organisations/${made.org}/apps/new`
  await go(p, base + at)
  await submit(p, at, {name: 'Lone Claims', kind: 'web', auth: 'client_secret', redirect_uris: app.uri, 'scope-1': true, 'scope-2': true, 'scope-3': true, 'scope-4': true})
  const mine = path(p)
  await go(p, `${base}${mine}/sandbox/credentials`)
  await send(p, `${mine}/sandbox/issue`)
  const secret = (await page.locator('#secret').innerText()).trim(), client = (await page.locator('dl.facts code').first().innerText()).trim()
  check((await page.locator('main').innerText()).includes(sandbox.fhir_base), 'the page does not say where the sandbox is')

  const smart = await (await fetch(`${sandbox.fhir_base}/.well-known/smart-configuration`)).json()
  const live = await (await fetch(`${base}/fhir/.well-known/smart-configuration`)).json()
  must(smart.token_endpoint !== live.token_endpoint, 'sandbox and production are one server')
  const verifier = randomBytes(32).toString('base64url')
  const ask = (endpoint, aud) => `${endpoint}?` + new URLSearchParams({response_type: 'code', client_id: client, redirect_uri: app.uri, scope: 'launch/patient patient/Patient.rs', state: 'lone', aud,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256'})
  const m = await person('Elena', servers)
  await go(m, ask(smart.authorization_endpoint, sandbox.fhir_base))
  await submit(m, '/login', {login: elena.login, password: elena.password})
  await m.page.locator('form.decision button[value=allow]').click()
  await m.page.waitForURL(u => u.href.startsWith(app.uri))
  const basic = {authorization: 'Basic ' + Buffer.from(`${client}:${secret}`).toString('base64')}
  const grant = new URLSearchParams({grant_type: 'authorization_code', code: app.answers.at(-1).get('code'), redirect_uri: app.uri, code_verifier: verifier})
  // In production the client is nobody, whatever it shows: neither a code nor a token nor a page of consent.
  const wrong = await fetch(live.token_endpoint, {method: 'POST', headers: basic, body: grant})
  check(wrong.status === 401, `production answers a client of the sandbox by ${wrong.status}`)
  const answer = await fetch(smart.token_endpoint, {method: 'POST', headers: basic, body: grant})
  const token = await answer.json()
  must(answer.status === 200 && token.patient === elena.patient, `the sandbox gives no token: ${answer.status} ${token.error}`)
  const read = where => fetch(`${where}/Patient/${elena.patient}`, {headers: {authorization: `Bearer ${token.access_token}`}})
  must((await read(sandbox.fhir_base)).status === 200, 'the call in the sandbox fails')
  check((await read(base + '/fhir')).status === 401, 'a token of the sandbox opens production')
  await m.page.goto(ask(live.authorization_endpoint, base + '/fhir'))
  check(m.status >= 400, `production asks for consent for a client of the sandbox: ${m.status}`)
  await m.context.close()

  // The console reaches the other server too.
  await go(p, `${base}${mine}/console`)
  await page.locator('#console-type option').first().waitFor({state: 'attached'})
  await page.locator('#console-begin').click()
  await page.waitForURL(u => u.origin === sandbox.issuer)
  await submit(p, '/login', {login: elena.login, password: elena.password})
  await page.locator('form.decision button[value=allow]').click()
  await page.waitForURL(u => u.origin === base && u.pathname.endsWith('/console') && u.pathname.includes('/apps/'))
  await page.waitForFunction(() => document.querySelector('#console-path').value.startsWith('Patient/'))
  await page.locator('#console-send').click()
  await page.waitForFunction(() => document.querySelector('#console-code').textContent.includes('200'))
}

await run([
  ['set up', [], async () => {
    const made = JSON.parse(does(['portal', 'user', 'add', staff.email, '--name', 'Grace Harbor', '--staff', 'administrator', '--output', 'json', '--config', join(work, 'serve.yaml')], staff.password + '\n'))
    must(made.totp_key, 'the first administrator gets no key')
    staff.totp_key = made.totp_key
  }],
  ['visitor of Harbor', [], visitor],
  ['developer of Harbor', ['set up'], developer],
  ['reviewer of Harbor', ['developer of Harbor'], reviewer],
  ['a sandbox of its own', ['reviewer of Harbor'], ownSandbox],
])
app.close()
server.kill('SIGTERM')
const ended = await stopped
check(ended === 0, `the server ends with ${ended}`)
for (const secret of [solo.email, solo.password, staff.email, elena.password]) check(!said.includes(secret), 'the log has an address or a password')
smtp.close()
await end()
