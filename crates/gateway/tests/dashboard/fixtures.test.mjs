// The page over states of every kind: what it tells, to whom, and what it withstands.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { browser, figures, gateway, open, shows, stage } from './harness.mjs';
import * as states from './states.mjs';

let chrome;
let real;
let scene;

before(async () => {
  [chrome, real] = await Promise.all([browser(), gateway()]);
});
beforeEach(async () => {
  scene = await stage(real.url);
});
afterEach(() => scene.stop());
after(async () => {
  await chrome?.close();
  await real?.stop();
});

/** The page showing `state`. */
async function showing(state, options) {
  scene.show(state);
  const page = await open(chrome, scene.url, options);
  await figures(page);
  return page;
}

const textOf = (page, selector) => page.locator(selector).innerText();

/** Shows another state and waits until it is drawn; the uptime in days tells the states apart. */
async function next(page, state, days) {
  scene.show({ ...state, uptime_s: days * 86_400 });
  await shows(page, `up ${days} d`);
}

test('every health has its own word, sign and reasons, in the page and in the tab', async () => {
  const page = await showing(states.busy());
  assert.equal(await textOf(page, '#verdict'), 'Healthy');
  assert.equal(await page.title(), 'Tidegate');
  assert.match(await textOf(page, '#waiting'), /^40 requests wait, the oldest for 3\.2 s\. .*needs RPM of gemini-3\.8-flash in main: free in 4\.3 s\.$/);
  const signs = new Set([await page.locator('#verdict use').getAttribute('href')]);
  for (const [days, name, word] of [[2, 'degraded', 'Degraded'], [3, 'down', 'Down']]) {
    const state = states[name]();
    await next(page, state, days);
    assert.equal(await textOf(page, '#verdict'), word);
    assert.equal(await page.title(), `${word} · Tidegate`);
    for (const reason of state.health.reasons) assert.ok((await textOf(page, '#reasons')).includes(reason));
    signs.add(await page.locator('#verdict use').getAttribute('href'));
  }
  assert.equal(signs.size, 3);
  assert.deepEqual(page.complaints, []);
});

test('a gateway nobody has asked yet says so everywhere', async () => {
  const page = await showing(states.empty());
  assert.equal(await textOf(page, '#verdict'), 'Healthy');
  for (const [part, words] of [['#quotas', 'No quota is in use yet'], ['#errors', 'None since it started'], ['#clients', 'Nobody has asked yet'], ['#charts', 'nothing in the last hour']]) {
    assert.ok((await page.locator(part).textContent()).includes(words), part);
  }
});

test('every state of a key is told by word and sign, with the time left and the reason', async () => {
  const page = await showing(states.degraded());
  const signs = new Set();
  for (const [key, words] of [['main/2', ['cooling down', 'for 13 s', 'a pause between']], ['main/3', ['temporarily exhausted', 'for 1 min 4 s', 'third in a row']],
    ['main/4', ['fully exhausted', 'for 13 h', 'midnight in Los Angeles']], ['main/5', ['dead', 'API key not valid']], ['main/1', ['available', '1 active']]]) {
    const row = page.locator('#keys li', { hasText: key });
    const told = await row.textContent();
    for (const word of words) assert.ok(told.includes(word), `${key}: ${told}`);
    signs.add(await row.locator('use').getAttribute('href'));
  }
  assert.equal(signs.size, 5);
  const order = await page.locator('#keys details').first().locator('li').allTextContents();
  assert.ok(order[0].startsWith('main/5') && order.at(-1).includes('main/1'), 'the worst come first');
});

test('a quota tells what is used, what is left and when it frees up', async () => {
  const page = await showing(states.degraded());
  const row = (project, model) => page.locator('#quotas details', { has: page.locator('summary', { hasText: project }) }).locator('li', { hasText: model });
  assert.match(await row('main', 'gemini-3.8-flash').innerText(), /full, room in 1\.4 s[\s\S]*10 \/ 10[\s\S]*250K \/ 250K[\s\S]*612 \/ 1,500/);
  assert.match(await row('main', 'gemini-3.8-pro').innerText(), /held for 41 s/);
  assert.match(await row('side', 'gemini-3.8-flash').innerText(), /used up, room in 13 h/);
});

test('the charts tell every minute to the mouse, to the keyboard and as a table', async () => {
  const state = states.busy();
  const page = await showing(state);
  const plot = page.locator('.plot').first();
  const told = minute => new RegExp(`${minute.answered} answered.*${minute.refused} refused.*${minute.failed} failed`, 's');
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + 46 + ((box.width - 48) / 60) * 7.5, box.y + 60);
  assert.match(await textOf(page, 'figure:first-child .readout'), told(state.minutes[7]));
  assert.match(await textOf(page, 'figure:last-child .readout'), new RegExp(`${state.minutes[7].p50_ms} ms p50`));
  await page.mouse.move(0, 0);
  await plot.focus();
  await page.keyboard.press('Home');
  assert.match(await plot.getAttribute('aria-valuetext'), told(state.minutes[0]));
  await page.keyboard.press('ArrowRight');
  assert.match(await plot.getAttribute('aria-valuetext'), told(state.minutes[1]));
  assert.match(await textOf(page, 'figure:first-child .readout'), told(state.minutes[1]));
  await page.locator('.minutes summary').press('Enter');
  const rows = page.locator('.minutes tbody tr');
  await rows.last().waitFor();
  assert.equal(await rows.count(), 60);
  assert.deepEqual((await rows.last().locator('td').allTextContents()).slice(0, 3), ['answered', 'refused', 'failed'].map(name => String(state.minutes[0][name])));
});

test('markup in what others say shows as text', async () => {
  const page = await showing(states.hostile());
  for (const part of ['#reasons', '#waiting', '#quotas', '#keys', '#errors', '#clients']) {
    assert.ok((await page.locator(part).textContent()).includes(states.MARKUP), part);
  }
  assert.equal(await page.locator('main img, main script').count(), 0);
  assert.equal(await page.title(), 'Degraded · Tidegate');
  assert.deepEqual(page.complaints, []);
});

test('a lost connection is told with the age of the figures, and found again', async () => {
  const page = await showing(states.busy());
  assert.equal(await textOf(page, '#link-text'), 'live');
  await page.locator('#filter').focus();
  scene.leave();
  await page.waitForFunction(() => /Connection lost: .*figures are \d+ s old.*Next try in \d+ s|Trying now/.test(document.getElementById('link-text').textContent));
  assert.match(await textOf(page, '#news'), /^The connection is lost: /);
  assert.equal(await page.title(), 'Connection lost · Tidegate');
  assert.match(await page.evaluate(() => getComputedStyle(document.getElementById('verdict'), '::after').content), /when last seen/);
  // Each try comes later than the one before: the third waits for more than three seconds.
  await page.waitForFunction(() => /[4-9] s\./.test(document.getElementById('link-text').textContent.split('Next try in')[1] ?? ''));
  scene.comeBack();
  scene.show({ ...states.down(), uptime_s: 5 * 86_400 });
  await page.locator('#again').click();
  await shows(page, 'up 5 d');
  assert.equal(await textOf(page, '#link-text'), 'live');
  assert.equal(await textOf(page, '#verdict'), 'Down');
  assert.equal(await page.title(), 'Down · Tidegate');
  assert.ok(await page.locator('#again').isHidden());
});

test('a token is asked for where clients are named, goes in a header, and can be forgotten', async () => {
  scene.wants('the-token');
  scene.show(states.busy());
  const page = await open(chrome, scene.url);
  await page.waitForSelector('#ask:not([hidden])');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'token');
  assert.equal(await page.locator('#token').getAttribute('type'), 'password');
  for (const wrong of ['another', 'ünfit']) {
    await page.keyboard.type(wrong);
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.getElementById('token-fault').textContent === 'No client has this token.' && !document.getElementById('token').value);
  }
  await page.keyboard.type('the-token');
  await page.keyboard.press('Enter');
  await figures(page);
  await page.reload();
  await figures(page);
  assert.ok(scene.asked.every(({ url }) => !url.includes('token')), 'no token in an address');
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage)), '{}');
  await page.locator('#forget').click();
  await page.waitForSelector('#ask:not([hidden])');
  assert.equal(await page.evaluate(() => JSON.stringify(sessionStorage)), '{}');
  assert.ok(!(await page.content()).includes('the-token'));
  await page.reload();
  await page.waitForSelector('#ask:not([hidden])');
});

test('it can be used without a mouse, and one always sees where one is', async () => {
  const page = await showing(states.degraded());
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  const seen = [];
  for (let step = 0; step < 40; step++) {
    await page.keyboard.press('Tab');
    const place = await page.evaluate(() => {
      const { activeElement: at } = document;
      const { outlineStyle, outlineWidth } = getComputedStyle(at);
      return { name: at.id || at.className || `${at.tagName} ${at.textContent.slice(0, 20)}`, visible: at === document.body || outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 };
    });
    assert.ok(place.visible, `the focus on ${place.name} is not seen`);
    seen.push(place.name);
  }
  for (const stop of ['plot', 'filter', 'problems']) assert.ok(seen.includes(stop), `${stop} in ${seen}`);
  await page.locator('#errors summary').first().focus();
  await page.keyboard.press('Enter');
  assert.match(await page.locator('#errors details').first().innerText(), /a41f09c2-/);
});

test('only a change of health is spoken', async () => {
  const page = await showing(states.busy());
  await page.evaluate(() => {
    window.spoken = [];
    new MutationObserver(() => window.spoken.push(document.getElementById('news').textContent)).observe(document.getElementById('news'), { childList: true, characterData: true, subtree: true });
  });
  await next(page, states.busy(), 2);
  await next(page, states.degraded(), 3);
  await next(page, { ...states.degraded(), health: { state: 'degraded', reasons: ['held for 40 s'] } }, 4);
  await next(page, states.busy(), 5);
  const spoken = await page.evaluate(() => window.spoken);
  assert.deepEqual(spoken.map(words => words.split('.')[0]), ['Degraded', 'Healthy']);
});

test('light and dark follow the system until somebody chooses, and the choice is kept', async () => {
  const page = await showing(states.busy(), { colorScheme: 'dark' });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.locator('#theme').click();
  assert.equal(await textOf(page, '#theme'), 'Theme: light');
  const light = await paper();
  assert.notEqual(light, dark);
  await page.reload();
  await figures(page);
  assert.equal(await paper(), light);
});

test('who wants no motion has none', async () => {
  const page = await showing(states.busy(), { reducedMotion: 'reduce' });
  const moving = await page.evaluate(() => [...document.querySelectorAll('*')].filter(node => {
    const { transitionDuration, animationName } = getComputedStyle(node);
    return parseFloat(transitionDuration) > 0 || animationName !== 'none';
  }).length);
  assert.equal(moving, 0);
});

for (const colorScheme of ['light', 'dark']) {
  test(`every text can be read in ${colorScheme} colours, and a phone never scrolls sideways`, async () => {
    const page = await showing(states.empty(), { colorScheme, viewport: { width: 360, height: 740 } });
    for (const [days, name] of Object.entries({ 2: 'empty', 3: 'busy', 4: 'degraded', 5: 'down', 6: 'many', 7: 'hostile' })) {
      await next(page, states[name](), Number(days));
      await page.evaluate(() => document.querySelectorAll('details').forEach(details => { details.open = true; }));
      for (const width of [360, 768, 1280]) {
        await page.setViewportSize({ width, height: 740 });
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= width, `${name} at ${width}`);
      }
      assert.deepEqual(await page.evaluate(pale), [], name);
    }
  });
}

test('two hundred keys, sixty quotas and fifty clients stay usable', async () => {
  const page = await showing(states.many());
  assert.match(await textOf(page, '#nav-keys'), /^200, 1 in trouble$/);
  assert.match(await page.locator('#keys details').first().innerText(), /^team-8\n/, 'the project with a dead key comes first');
  assert.ok(await page.locator('#keys details:not([open])').count() > 5, 'projects without trouble are folded');
  await page.locator('#filter').fill('team-8/3');
  assert.equal(await textOf(page, '#nav-keys'), '1 of 200, 1 in trouble');
  assert.equal(await page.locator('#keys li').filter({ visible: true }).count(), 1);
  await page.locator('#filter').fill('');
  await page.locator('#problems').check();
  assert.equal(await page.locator('#keys li').filter({ visible: true }).count(), 1);
  await page.locator('#problems').uncheck();
  await page.locator('#clients .more-rows').click();
  assert.equal(await page.locator('#clients .row').count(), 50);
});

test('an update moves figures and nothing else: not the focus, not the place, not the elements', async () => {
  const page = await showing(states.many());
  await page.locator('#clients .more-rows').click();
  await page.locator('#errors summary').nth(4).focus();
  await page.locator('#errors summary').nth(4).press('Enter');
  const before = await page.evaluate(() => {
    window.focused = document.activeElement;
    window.row = document.querySelector('#keys li');
    window.made = 0;
    new MutationObserver(records => {
      for (const { addedNodes } of records) window.made += [...addedNodes].filter(node => node.nodeType === Node.ELEMENT_NODE).length;
    }).observe(document.body, { childList: true, subtree: true });
    return { top: window.focused.getBoundingClientRect().top, text: window.focused.textContent.slice(0, 8) };
  });
  for (const days of [2, 3, 4]) await next(page, states.many(days), days);
  const { same, top, row, made } = await page.evaluate(() => ({
    same: document.activeElement === window.focused, top: window.focused.getBoundingClientRect().top, row: document.contains(window.row), made: window.made,
  }));
  assert.ok(same && row);
  assert.equal(top, before.top);
  assert.equal(made, 0, 'elements made for an update that changes figures only');
  // A new error goes on top; whoever reads an older one stays there.
  const [newest, ...older] = states.many(0).errors;
  await next(page, { ...states.many(5), errors: [{ ...newest, request_id: 'fresh' }, newest, ...older.slice(0, -1)] }, 6);
  assert.equal(await page.locator('#errors details').count(), 10);
  assert.ok(await page.evaluate(() => document.activeElement === window.focused && window.focused.parentNode.open));
});

/** Texts whose contrast is below what WCAG AA asks for; runs in the page. */
function pale() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  for (const node of document.querySelectorAll('body *')) {
    const speaks = [...node.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim());
    if (!speaks || !node.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(rgba(node instanceof SVGElement ? style.fill : style.color)), light(ground(node))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.7 && Number(style.fontWeight) >= 700;
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (large ? 3 : 4.5)) found.add(`${node.tagName}.${node.getAttribute('class')} "${node.textContent.slice(0, 20)}" ${contrast.toFixed(2)}`);
  }
  return [...found];
}
