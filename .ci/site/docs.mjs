// Looks at the public documentation in Chromium: three widths and what the Content-Security-Policy stops, on all pages in
// English and Spanish; axe-core on all pages in English and light, and in Spanish and dark on those of each kind.
// TestServeForBrowser of internal/site/docs starts it:
//
//   node docs.mjs BASE PICTURES PATH...
//
// PICTURES is a folder, or "" for none. It exits with 1 if anything is wrong.
import {readFileSync, mkdirSync} from 'node:fs'
import {createRequire} from 'node:module'
import {chromium} from 'playwright-core'

const [base, pictures, ...paths] = process.argv.slice(2)
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
if (pictures) mkdirSync(pictures, {recursive: true})
const shown = ['/', '/docs', '/docs/getting-started', '/docs/smart', '/docs/api', '/docs/mapping', '/docs/production', '/docs/members']
const widths = [1280, 768, 320]

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
for (const lang of ['en', 'es']) {
  for (const scheme of pictures ? ['light', 'dark'] : [lang === 'en' ? 'light' : 'dark']) {
    const context = await chrome.newContext({locale: lang === 'es' ? 'es-US' : 'en-US', colorScheme: scheme})
    const page = await context.newPage()
    page.on('console', m => {
      if (m.type() === 'error' && !/status of 404/.test(m.text())) check(false, `${page.url()}: ${m.text()}`)
    })
    page.on('request', r => check(r.url().startsWith(base + '/'), `${page.url()} asks for ${r.url()}`))
    for (const path of paths) {
      const where = `${path} (${lang}, ${scheme})`
      await page.setViewportSize({width: widths[0], height: 900})
      await page.goto(base + path)
      check(await page.evaluate(() => document.documentElement.lang) === lang, `${where}: the language is another one`)
      if (lang === 'en' && scheme === 'light' || shown.includes(path)) {
        await page.evaluate(axe)
        const found = await page.evaluate(() => axe.run(document, {
          runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], rules: {'target-size': {enabled: true}}, resultTypes: ['violations'],
        }))
        for (const v of found.violations) check(false, `${where}: ${v.id}: ${v.help}: ${v.nodes.map(n => n.html).join(' ').slice(0, 600)}`)
        check(found.passes.length > 10, `${where}: axe has looked at little`)
      }
      for (const width of widths) {
        await page.setViewportSize({width, height: 900})
        const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
        check(over <= 0, `${where}: at ${width} px it is ${over} px too wide`)
        if (pictures && shown.includes(path)) {
          const name = path === '/' ? 'home' : path.slice(1).replace('/', '-')
          await page.screenshot({path: `${pictures}/${name}-${lang}-${scheme}-${width}.png`, fullPage: ['/', '/docs'].includes(path)})
        }
      }
    }
    // The keyboard alone: the first stop leads past the menus.
    await page.goto(base + '/docs/smart')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    check(await page.evaluate(() => document.activeElement.id) === 'main', `the first link (${lang}, ${scheme}) does not lead to the text`)
    await context.close()
  }
}
await chrome.close()
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
