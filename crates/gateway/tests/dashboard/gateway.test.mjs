// The page over a gateway that really works: `tidegate serve --sim`, with requests going through.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, figures, gateway, open } from './harness.mjs';

let chrome;

before(async () => {
  chrome = await browser();
});
after(() => chrome?.close());

const MODEL = 'gemini-3.5-flash';

/** Sends prompts through the gateway, as its clients do. */
const ask = (url, model, prompt, token = 'any') => fetch(`${url}/v1beta/models/${model}:generateContent`, {
  method: 'POST', headers: { 'x-goog-api-key': token, 'content-type': 'application/json' }, body: JSON.stringify({ contents: [{ parts: [{ text: prompt }] }] }),
});

test('requests show up as they are answered, without a reload', async context => {
  const { url, stop } = await gateway();
  context.after(stop);
  const page = await open(chrome, url);
  await figures(page);
  assert.equal(await page.locator('#verdict').innerText(), 'Healthy');
  const answers = await Promise.all(Array.from({ length: 6 }, (_, index) => ask(url, MODEL, `Name wader ${index}.`)));
  assert.deepEqual(answers.map(answer => answer.status), Array(6).fill(200));
  await page.waitForFunction(model => document.querySelector('#quotas').textContent.includes(model), MODEL);
  await page.waitForFunction(() => /^6 · /.test(document.querySelectorAll('#strip .note')[1].textContent));
  const refused = await ask(url, 'no-such-model', 'Name a wader.');
  assert.equal(refused.ok, false);
  await page.waitForFunction(() => document.querySelectorAll('#errors details').length > 0);
  assert.deepEqual(page.complaints, []);
});

test('with clients named, the page is everybody\'s and its figures are not', async context => {
  const { url, stop } = await gateway('[[serve.clients]]\nname = "notebook"\ntoken = "the-token-of-the-notebook"\n');
  context.after(stop);
  assert.equal((await fetch(`${url}/api/events`)).status, 401);
  const page = await open(chrome, url);
  await page.waitForSelector('#ask:not([hidden])');
  await page.keyboard.type('the-token-of-the-notebook');
  await page.keyboard.press('Enter');
  await figures(page);
  assert.ok((await page.locator('#clients').textContent()).includes('notebook'));
  assert.ok(!(await page.content()).includes('the-token-of-the-notebook'));
});

test('a gateway that ends is told, and one that comes back is found', async context => {
  const first = await gateway();
  const page = await open(chrome, first.url);
  await figures(page);
  await first.stop();
  await page.waitForFunction(() => document.getElementById('link-text').textContent.startsWith('Connection lost'));
  const second = await gateway('', new URL(first.url).host);
  context.after(second.stop);
  await page.waitForFunction(() => document.getElementById('link-text').textContent === 'live');
  assert.equal(await page.locator('#verdict').innerText(), 'Healthy');
});
