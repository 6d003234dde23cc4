// The page where templates are filled: what to fill, how it goes, what came out.

import { el, say, set, show } from './dom.js';
import { fieldRows } from './fields.js';
import { isToken, session, themes, TOKEN } from './session.js';
import { events } from './stream.js';
import { plural, span } from './words.js';

const $ = id => document.getElementById(id);
const API = 'api/templates';
const SETTINGS = ['profile', 'max_batch_size', 'max_concurrent_api_calls', 'min_delay_between_calls'];
/** How often a broken connection is taken up again, in a row. */
const TRIES = 6;

/** Asks the gateway; a wrong token leads back to the question for it. */
async function call(path, options = {}) {
  const token = session.get(TOKEN);
  const headers = { ...options.headers, ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(`${API}/${path}`, { cache: 'no-store', ...options, headers }).catch(error => {
    throw error.name === 'AbortError' ? error : new Error('nothing answers at the address of this gateway');
  });
  if (answer.status === 401) {
    ask(Boolean(token));
    throw new Error('the gateway wants to know who asks');
  }
  if (!answer.ok) throw new Error(await fault(answer));
  return answer;
}

async function fault(answer) {
  const told = await answer.json().catch(() => null);
  return told?.error?.message ?? `the gateway answered with status ${answer.status}`;
}

// ---- documents

let documents = [];

function add(files) {
  for (const file of files) if (!documents.some(known => known.name === file.name && known.size === file.size)) documents.push(file);
  choose();
}

function choose() {
  const row = file => {
    const away = el('button', { type: 'button', 'aria-label': `Remove ${file.name}` }, 'Remove');
    away.addEventListener('click', () => {
      const at = documents.indexOf(file);
      documents = documents.filter(other => other !== file);
      choose();
      ($('chosen').querySelectorAll('button')[Math.min(at, documents.length - 1)] ?? $('documents')).focus();
    });
    return el('li', {}, el('span', {}, file.name), el('span', { class: 'note' }, size(file.size)), away);
  };
  $('chosen').replaceChildren(...documents.map(row));
}

const size = bytes => bytes < 1_000 ? `${bytes} B` : bytes < 1_000_000 ? `${Math.round(bytes / 1_000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;

$('documents').addEventListener('change', () => {
  add($('documents').files);
  $('documents').value = '';
});
for (const name of ['dragenter', 'dragover']) {
  $('drop').addEventListener(name, event => {
    event.preventDefault();
    set($('drop'), 'data-over', true);
  });
}
for (const name of ['dragleave', 'drop']) $('drop').addEventListener(name, () => set($('drop'), 'data-over', null));
$('drop').addEventListener('drop', event => {
  event.preventDefault();
  add(event.dataTransfer.files);
});
// A file let go beside the place for it must not replace the page.
for (const name of ['dragover', 'drop']) addEventListener(name, event => event.preventDefault());

// ---- the order

function order() {
  const form = new FormData();
  const [file] = $('template-file').files;
  const text = $('template-text').value;
  if (text.trim()) form.append('template', new Blob([text]), $('template-kind').value);
  else if (file) form.append('template', file, file.name);
  else throw new Error('choose a template, or paste one');
  for (const document of documents) form.append('documents', document, document.name);
  for (const name of SETTINGS) if ($(name).value) form.append(name, $(name).value);
  return form;
}

$('template-file').addEventListener('change', () => { if ($('template-file').files.length) $('template-text').value = ''; });
$('template-text').addEventListener('input', () => {
  if ($('template-text').value) $('template-file').value = '';
  if ($('template-text').value.trimStart().startsWith('{"') || /^\s*\{\s*\n/.test($('template-text').value)) $('template-kind').value = 'template.json';
});

$('order').addEventListener('submit', async event => {
  event.preventDefault();
  say($('fault'), '');
  set($('start'), 'disabled', true);
  try {
    const isText = /\.(txt|md|docx)$/i.test($('template-text').value.trim() ? $('template-kind').value : $('template-file').files[0]?.name ?? '');
    const answer = await call('fill', { method: 'POST', body: order() });
    await follow(await answer.json(), isText);
  } catch (error) {
    say($('fault'), sentence(error.message));
  } finally {
    set($('start'), 'disabled', null);
    show($('cancel'), false);
  }
});

const sentence = text => text && `${text[0].toUpperCase()}${text.slice(1)}`;

// ---- the job

let rows;
let job;

async function follow(begun, isText) {
  job = begun;
  rows = fieldRows($('fields'));
  $('notes').replaceChildren();
  show($('result'), true);
  show($('downloads'), false);
  show($('downloads').querySelector('[data-format=document]'), isText);
  show($('cancel'), true);
  say($('news'), 'Reading the documents.');
  progress(0);
  if (innerWidth <= 1000) $('result').scrollIntoView();
  const end = await heard();
  show($('downloads'), end.state === 'done');
  if (end.state === 'done') return;
  say($('state'), end.state === 'cancelled' ? 'Cancelled' : 'Failed');
  say($('news'), end.error ?? '');
}

/** Follows the events to the end, taking up a broken connection where it broke. */
async function heard() {
  let last = 0;
  for (let failures = 0; ; failures++) {
    try {
      const answer = await call(`jobs/${job.id}/events`, { headers: { 'last-event-id': String(last) } });
      for await (const { name, data } of events(answer.body)) {
        if (!data) continue;
        last += 1;
        failures = 0;
        const told = JSON.parse(data);
        if (name === 'end') return told;
        TOLD[name]?.(told);
      }
    } catch (error) {
      if (failures >= TRIES) throw error;
    }
    await new Promise(resolve => setTimeout(resolve, 300 * 2 ** failures));
  }
}

const TOLD = {
  read: ({ chunks, is_whole: isWhole }) => say($('news'), isWhole ? 'The documents are short enough to be shown whole.' : `Searching ${plural(chunks, 'passage')}.`),
  note: ({ text }) => $('notes').append(el('li', {}, sentence(text))),
  embedding: ({ done, of }) => say($('news'), `Reading meanings: ${done} of ${of}.`),
  packed: ({ packs }) => {
    rows.expect(packs.flat());
    say($('news'), `${plural(packs.flat().length, 'field')} in ${plural(packs.length, 'call')}.`);
  },
  asked: ({ call: number, fields, again }) => {
    rows.asked(fields);
    say($('news'), `Call ${number}: ${again ? 'asking again for' : 'asking for'} ${plural(fields.length, 'field')}.`);
  },
  paused: ({ seconds }) => say($('news'), `The API asks to wait ${span(seconds)}.`),
  field: field => progress(rows.settle(field)),
  done: stats => {
    const found = stats.fields - stats.missing;
    say($('state'), `${found} of ${plural(stats.fields, 'field')} filled`);
    say($('news'), `${plural(stats.generation_calls, 'call')} in ${span(stats.elapsed_ms / 1_000)}; ${stats.from_cache} from the cache, ${stats.from_pattern} by pattern, ${stats.unsupported} without support.`);
  },
};

function progress(settled) {
  $('progress').max = Math.max(1, job.fields);
  $('progress').value = settled;
  say($('state'), `${settled} of ${plural(job.fields, 'field')} settled`);
}

$('cancel').addEventListener('click', () => call(`jobs/${job.id}`, { method: 'DELETE' }).catch(error => say($('fault'), sentence(error.message))));

$('downloads').addEventListener('click', async event => {
  const format = event.target.dataset.format;
  if (!format) return;
  try {
    const answer = await call(`jobs/${job.id}?format=${format}`);
    const name = /filename="([^"]+)"/.exec(answer.headers.get('content-disposition') ?? '')?.[1] ?? `filled.${format}`;
    const url = URL.createObjectURL(await answer.blob());
    el('a', { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    say($('fault'), sentence(error.message));
  }
});

// ---- who asks

function ask(wrong) {
  session.set(TOKEN, null);
  show($('work'), false);
  show($('forget'), false);
  show($('ask'), true);
  say($('token-fault'), wrong ? 'No client has this token.' : '');
  $('token').value = '';
  $('token').focus();
}

/** Shows the form, filled in with the settings that hold, to whoever may see it. */
async function enter() {
  try {
    const config = await (await call('config')).json();
    for (const name of SETTINGS.slice(1)) set($(name), 'placeholder', config[name]);
    say($('profile').options[0], `as configured (${config.profile})`);
  } catch (error) {
    if (!$('ask').hidden) return;
    say($('fault'), sentence(error.message));
  }
  show($('ask'), false);
  show($('work'), true);
  show($('forget'), Boolean(session.get(TOKEN)));
}

$('ask').addEventListener('submit', event => {
  event.preventDefault();
  const token = $('token').value.trim();
  if (!isToken(token)) return ask(true);
  session.set(TOKEN, token);
  show($('ask'), false);
  enter();
});
$('forget').addEventListener('click', () => ask(false));

themes($('theme'));
enter();
