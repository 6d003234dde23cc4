// The page where templates are filled: its own files, over an API that fills as a test says.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { browser, gateway, open } from './harness.mjs';

let chrome;
let house;

before(async () => {
  chrome = await browser();
  house = await gateway();
});
after(async () => {
  await chrome?.close();
  await house?.stop();
});

const CONFIG = { profile: 'balanced', max_concurrent_api_calls: 2, min_delay_between_calls: 1, max_batch_size: 10 };
const STATS = { fields: 4, missing: 1, generation_calls: 1, elapsed_ms: 1_400, from_cache: 1, from_pattern: 1, unsupported: 0 };
const LEASE = { document: 'lease.md', heading: '§ 3 Rent', page: 2, line: 14, text: 'The tenant shall pay a monthly\nRent of EUR 950.00, due on the third working day of each month.' };
const FIELDS = [
  { name: 'tenant', value: 'Ada Lovelace', origin: 'cache', confidence: 0.98, quote: 'Ada Lovelace', support: 'supported', source: { document: 'lease.md', line: 3, text: 'between Ada Lovelace (the tenant) and Nordhaus AG' } },
  { name: 'rent', value: 950, origin: 'model', confidence: 0.95, quote: 'monthly rent of EUR 950.00', support: 'supported', source: LEASE },
  { name: 'mail', value: '<b>ada@example.org</b>', origin: 'pattern', quote: 'ada@example.org', support: 'supported', source: { document: 'annex.txt', line: 1, text: 'Write to ada@example.org.' } },
  { name: 'deposit', value: null, origin: 'missing', required: true, note: 'no document holds it' },
];
const EVENTS = [
  ['read', { chunks: 7, is_whole: false }], ['note', { text: 'keyword search only: there is no embedding model' }], ['field', FIELDS[0]],
  ['packed', { packs: [['rent', 'mail', 'deposit']] }], ['asked', { call: 1, fields: ['rent', 'mail', 'deposit'], again: false }],
  ['field', FIELDS[1]], ['field', FIELDS[2]], ['field', FIELDS[3]], ['done', STATS], ['end', { state: 'done' }],
];

/** A gateway whose pages are real and whose fillings go as far as they are let. */
async function desk(context, { token } = {}) {
  const desk = { asked: [], tells: 0, gone: false, waiting: new Set() };
  const fill = answer => {
    answer.writeHead(200, { 'content-type': 'text/event-stream' });
    desk.waiting.add(answer);
    answer.on('close', () => desk.waiting.delete(answer));
  };
  const server = http.createServer(async (request, answer) => {
    const { pathname, search } = new URL(request.url, house.url);
    const json = (status, value) => answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (!pathname.startsWith('/api/')) {
      const file = await fetch(house.url + request.url);
      const headers = [...file.headers].filter(([name]) => !['connection', 'content-length', 'transfer-encoding'].includes(name));
      return answer.writeHead(file.status, Object.fromEntries(headers)).end(Buffer.from(await file.arrayBuffer()));
    }
    const body = Buffer.concat(await request.toArray()).toString();
    desk.asked.push({ method: request.method, path: pathname.slice(15) + search, body, last: Number(request.headers['last-event-id'] ?? 0) });
    if (token && request.headers.authorization !== `Bearer ${token}`) return json(401, {});
    if (pathname.endsWith('/config')) return json(200, CONFIG);
    if (pathname.endsWith('/fill')) {
      if (body.includes('colour')) return json(400, { error: { message: 'template template.yaml, fields[0] (rent): unknown type "colour"' } });
      return json(202, { id: 'job-1', fields: 4, state: 'running' });
    }
    if (pathname.endsWith('/events')) return fill(answer);
    if (request.method === 'DELETE') {
      for (const waiting of desk.waiting) waiting.end('event: end\ndata: {"state":"cancelled"}\n\n');
      return json(200, {});
    }
    return answer.writeHead(200, { 'content-disposition': 'attachment; filename="filled.csv"' }).end('name,value\nrent,950\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(desk, {
    url: `http://127.0.0.1:${server.address().port}/fill`,
    /** Tells so many more events to who listens. */
    async tell(count) {
      while (!desk.waiting.size) await new Promise(resolve => setTimeout(resolve, 10));
      for (const [name, data] of EVENTS.slice(desk.tells, desk.tells += count)) for (const answer of desk.waiting) answer.write(`id: 1\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    },
    /** Breaks what is open. */
    cut() {
      desk.waiting.forEach(answer => answer.destroy());
      desk.waiting.clear();
    },
  });
}

const TEMPLATE = 'fields:\n  - name: tenant\n  - name: rent\n    type: number\n  - name: mail\n  - name: deposit\n    required: true\n';

async function order(page) {
  await page.waitForSelector('#work:not([hidden])');
  await page.locator('#template-text').fill(TEMPLATE);
  await page.locator('#documents').setInputFiles([{ name: 'lease.md', mimeType: 'text/markdown', buffer: Buffer.from('# Lease') }, { name: 'annex.txt', mimeType: 'text/plain', buffer: Buffer.from('Write to ada@example.org.') }]);
  await page.locator('#start').click();
}

const settled = (page, words) => page.waitForFunction(wanted => document.getElementById('state').textContent.startsWith(wanted), words);

test('fields arrive with value, origin and their quote marked in its source', async context => {
  const api = await desk(context);
  const page = await open(chrome, api.url);
  await order(page);
  await api.tell(5);
  await settled(page, '1 of 4');
  assert.equal(await page.locator('#fields > li').count(), 4);
  assert.equal(await page.locator('#fields > li').nth(1).locator('.origin').innerText(), 'asking');
  await api.tell(5);
  await settled(page, '3 of 4 fields filled');
  const sent = api.asked.find(({ path }) => path === 'fill').body;
  for (const words of ['name="template"; filename="template.yaml"', 'filename="lease.md"', 'filename="annex.txt"', '- name: rent']) assert.ok(sent.includes(words), words);
  const rent = page.locator('#fields > li', { hasText: 'rent' }).first();
  assert.equal(await rent.locator('.value').innerText(), '950');
  await rent.locator('summary').click();
  assert.equal(await rent.locator('summary').innerText(), 'lease.md, § 3 Rent, page 2, line 14');
  assert.equal((await rent.locator('mark').innerText()).replace(/\s+/g, ' '), 'monthly Rent of EUR 950.00');
  assert.equal(await page.locator('#fields > li', { hasText: 'mail' }).locator('.value').innerText(), '<b>ada@example.org</b>', 'values are text, never markup');
  assert.match(await page.locator('#fields > li', { hasText: 'deposit' }).innerText(), /nothing found \(required\)/);
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('[data-format=csv]').click()]);
  assert.equal(download.suggestedFilename(), 'filled.csv');
  assert.deepEqual(page.complaints, []);
});

test('a connection that breaks is taken up where it broke', async context => {
  const api = await desk(context);
  const page = await open(chrome, api.url);
  await order(page);
  await api.tell(6);
  await settled(page, '2 of 4');
  api.cut();
  await api.tell(4);
  await settled(page, '3 of 4 fields filled');
  assert.deepEqual(api.asked.filter(({ path }) => path.endsWith('/events')).map(({ last }) => last), [0, 6]);
});

test('files let go over their place are documents, and one let go elsewhere does not replace the page', async context => {
  const api = await desk(context);
  const page = await open(chrome, api.url);
  await page.waitForSelector('#work:not([hidden])');
  const dataTransfer = await page.evaluateHandle(() => {
    const transfer = new DataTransfer();
    for (const name of ['lease.md', 'annex.txt']) transfer.items.add(new File([`this is ${name}`], name, { type: 'text/plain' }));
    return transfer;
  });
  await page.dispatchEvent('#drop', 'dragenter', { dataTransfer });
  assert.notEqual(await page.locator('#drop').getAttribute('data-over'), null, 'the place shows that it takes them');
  await page.dispatchEvent('#drop', 'drop', { dataTransfer });
  assert.equal(await page.locator('#drop').getAttribute('data-over'), null);
  assert.deepEqual(await page.locator('#chosen li span:first-child').allInnerTexts(), ['lease.md', 'annex.txt']);
  const isKept = await page.evaluate(() => {
    const drop = new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() });
    document.body.dispatchEvent(drop);
    return drop.defaultPrevented;
  });
  assert.ok(isKept);
  await page.locator('#template-text').fill(TEMPLATE);
  await page.locator('#start').click();
  await api.tell(EVENTS.length);
  await settled(page, '3 of 4 fields filled');
  const sent = api.asked.find(({ path }) => path === 'fill').body;
  for (const words of ['filename="lease.md"', 'this is lease.md', 'filename="annex.txt"', 'this is annex.txt']) assert.ok(sent.includes(words), words);
  assert.deepEqual(page.complaints, []);
});

test('what is wrong with a template is told beside the button', async context => {
  const page = await open(chrome, (await desk(context)).url);
  await page.waitForSelector('#work:not([hidden])');
  await page.locator('#start').click();
  assert.equal(await page.locator('#fault').innerText(), 'Choose a template, or paste one');
  await page.locator('#template-text').fill('fields: [{name: rent, type: colour}]');
  await page.locator('#start').click();
  await page.waitForFunction(() => document.getElementById('fault').textContent.includes('fields[0] (rent)'));
});

test('everything can be done with the keyboard alone', async context => {
  const api = await desk(context, { token: 'the-token' });
  const page = await open(chrome, api.url);
  await page.waitForSelector('#ask:not([hidden])');
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.getElementById('token-fault').textContent !== '');
  await page.keyboard.type('the-token');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#work:not([hidden])');
  const focus = async id => {
    for (let steps = 0; steps < 30; steps++) {
      if (await page.evaluate(() => document.activeElement?.id) === id) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`${id} is not reached`);
  };
  await focus('template-text');
  await page.keyboard.type('fields: [{name: rent}]');
  await focus('documents');
  await focus('start');
  await page.keyboard.press('Enter');
  await api.tell(6);
  await settled(page, '2 of 4');
  await focus('cancel');
  await page.keyboard.press('Enter');
  await settled(page, 'Cancelled');
  assert.ok(!(await page.content()).includes('the-token'));
});

test('a gateway that really works fills what is chosen here', async () => {
  const page = await open(chrome, `${house.url}/fill`);
  await order(page);
  await page.waitForFunction(() => /of 4 fields filled$/.test(document.getElementById('state').textContent));
  assert.equal(await page.locator('#fields > li:not([data-waiting])').count(), 4);
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('[data-format=html]').click()]);
  assert.equal(download.suggestedFilename(), 'filled.html');
  assert.deepEqual(page.complaints, []);
});

for (const width of [1280, 360]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`nothing is cut off at ${width} pixels in ${colorScheme}`, async context => {
      const api = await desk(context);
      const page = await open(chrome, api.url, { viewport: { width, height: 800 }, colorScheme });
      await order(page);
      await api.tell(EVENTS.length);
      await settled(page, '3 of 4 fields filled');
      await page.locator('#fields details').nth(1).locator('summary').click();
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.equal(beyond, 0, 'nothing scrolls sideways');
      if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/fill-${width}-${colorScheme}.png`, fullPage: true });
    });
  }
}
