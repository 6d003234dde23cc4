// The page: who asks, whether the figures are live, which of them are shown.

import { charts } from './charts.js';
import { say, set, show, svg } from './dom.js';
import { keys, quotas } from './groups.js';
import { clients, errors } from './lists.js';
import { overview } from './overview.js';
import { isToken, session, themes, TOKEN } from './session.js';
import { follow } from './stream.js';
import { age, count, healthState, span } from './words.js';

const $ = id => document.getElementById(id);

// ---- figures

const drawTop = overview(document);
const drawCharts = charts($('charts'));
const parts = { quotas: quotas($('quotas')), clients: clients($('clients')), keys: keys($('keys')), errors: errors($('errors')) };
let latest;
let heardAt;

function draw(state) {
  guarded('health', () => drawTop(state));
  guarded('charts', () => drawCharts(state));
  for (const [name, part] of Object.entries(parts)) guarded(name, () => navigate(name, part(state)));
}

/** A part that cannot be drawn must not take the others with it. */
function guarded(name, action) {
  try {
    action();
    set($(name), 'data-broken', null);
  } catch (error) {
    set($(name), 'data-broken', '');
    console.error(name, error);
  }
}

function navigate(name, { shown, all, problems }) {
  const few = shown < all ? `${count(shown)} of ${count(all)}` : count(all);
  say($(`nav-${name}`), problems && name !== 'errors' ? `${few}, ${count(problems)} in trouble` : few);
}

function arrived(state) {
  latest = state;
  heardAt = performance.now();
  show($('figures'), true);
  show($('ask'), false);
  say($('about'), `${state.version ?? ''} · up ${age(state.uptime_s ?? 0)}`);
  announce(state.health ?? {});
  // A tab in the background keeps its title and its sign right, and the rest for later.
  if (!document.hidden) draw(state);
}

document.addEventListener('visibilitychange', () => !document.hidden && latest && draw(latest));

// ---- health, for the ears and for the tab

let announced;

function announce({ state, reasons = [] }) {
  const { word, tone } = healthState(state);
  tab(state === 'ok' ? null : word, tone);
  if (announced === state) return;
  const first = announced === undefined;
  announced = state;
  say($('news'), first && state === 'ok' ? '' : [word, ...reasons].join('. '));
}

function tab(word, tone) {
  const title = word ? `${word} · Tidegate` : 'Tidegate';
  if (document.title === title && $('sign').dataset.tone === tone) return;
  document.title = title;
  set($('sign'), 'data-tone', tone);
  set($('sign'), 'href', favicon(tone));
}

function favicon(tone) {
  const mark = document.querySelector(`#mark-${tone}`).cloneNode(true);
  const colour = { good: '#2f7d5b', warn: '#b7791f', bad: '#b3372b' }[tone] ?? '#7a8589';
  const picture = svg('svg', { viewBox: '0 0 12 12', fill: colour }, ...mark.childNodes);
  return `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(picture))}`;
}

// ---- the connection

let stream;
let lost;

function connect(token) {
  stream?.stop();
  lost = undefined;
  link('unknown', 'connecting');
  show($('forget'), Boolean(token));
  stream = follow(token, {
    state: arrived,
    live: () => {
      if (lost) say($('news'), 'The connection is back.');
      lost = undefined;
      show($('again'), false);
      set(document.body, 'data-stale', null);
      link('good', 'live');
    },
    lost: (why, retryAt) => {
      if (!lost && latest) say($('news'), `The connection is lost: ${why}.`);
      lost = { why, retryAt };
      tab('Connection lost', 'unknown');
      show($('again'), true);
      set(document.body, 'data-stale', Boolean(latest));
      tick();
    },
    stranger: () => ask(Boolean(token)),
  });
}

function link(tone, text) {
  set($('link'), 'data-tone', tone);
  say($('link-text'), text);
}

/** How old the figures are and when the next try is, while there is no connection. */
function tick() {
  if (!lost) return;
  const now = performance.now();
  const left = (lost.retryAt - now) / 1_000;
  const old = heardAt === undefined ? 'No figures yet' : `These figures are ${age((now - heardAt) / 1_000)} old`;
  link('bad', `Connection lost: ${lost.why}. ${old}. ${left > 0 ? `Next try in ${span(Math.ceil(left)).replace('.0', '')}.` : 'Trying now.'}`);
}

setInterval(tick, 1_000);
$('again').addEventListener('click', () => stream.now());
addEventListener('online', () => lost && stream.now());

// ---- who asks

function ask(wrong) {
  session.set(TOKEN, null);
  latest = announced = heardAt = undefined;
  show($('figures'), false);
  show($('forget'), false);
  show($('again'), false);
  set(document.body, 'data-stale', null);
  show($('ask'), true);
  tab(null, 'unknown');
  link('unknown', 'not connected');
  say($('about'), '');
  say($('token-fault'), wrong ? 'No client has this token.' : '');
  $('token').value = '';
  $('token').focus();
}

$('ask').addEventListener('submit', event => {
  event.preventDefault();
  const token = $('token').value.trim();
  say($('token-fault'), '');
  if (!isToken(token)) return ask(true);
  session.set(TOKEN, token);
  connect(token);
});

$('forget').addEventListener('click', () => {
  stream.stop();
  ask(false);
});

// ---- the filter

function filter() {
  const wanted = $('filter').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const problems = $('problems').checked;
  const lets = (words, isProblem) => (isProblem || !problems) && (!wanted.length || wanted.every(word => words.toLowerCase().includes(word)));
  for (const [name, part] of Object.entries(parts)) guarded(name, () => navigate(name, part(undefined, { lets, active: wanted.length > 0 || problems })));
}

$('filter').addEventListener('input', filter);
$('problems').addEventListener('change', filter);
filter();

themes($('theme'));
connect(session.get(TOKEN));
