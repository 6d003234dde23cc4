// Quotas and keys, gathered by project: what is wrong comes first, what is fine takes little room.

import { el, list, say, set, show, sign } from './dom.js';
import { DIMENSIONS, count, keyState, percent, plural, short, span } from './words.js';

/** So many rows are shown at once; beyond, a project without problems starts folded. */
const ROOMY = 24;
/** A share from which a quota is nearly used up. */
const NEARLY = 0.8;

/** One dimension of a quota or a budget: the figures, and a bar under them. */
export function meter(dimension) {
  // A minute's quota that is full is a quota in use; a day's is a day without answers.
  const [label, meaning, long] = DIMENSIONS[dimension];
  const text = el('span', { class: 'value' });
  const bar = el('i');
  const node = el('span', { class: 'meter' }, el('abbr', { title: meaning }, label), ' ', text, el('span', { class: 'track', 'aria-hidden': 'true' }, bar));
  const update = use => {
    show(node, Boolean(use));
    if (!use) return;
    const share = shareOf(use);
    say(text, use.limit == null ? `${short(use.used)} · no limit` : `${short(use.used)} / ${short(use.limit)}`);
    set(node, 'title', use.limit == null ? `${count(use.used)} ${meaning}` : `${count(use.used)} of ${count(use.limit)} ${meaning}, ${percent(share)}`);
    set(node, 'data-full', share >= 1);
    set(node, 'data-tone', share >= 1 && long ? 'bad' : share >= NEARLY ? 'warn' : 'good');
    bar.style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
  };
  return { node, update };
}

/** What is used of it, 1 for all; a limit of nothing is used up from the start. */
const shareOf = use => use?.limit == null ? 0 : use.limit === 0 ? 1 : use.used / use.limit;

export const isFull = use => shareOf(use) >= 1;

/** A model that this project may not ask at all. */
const isNone = quota => [quota.rpm, quota.tpm, quota.rpd].some(use => use?.limit === 0);

const isTrouble = quota => quota.held_s != null || isNone(quota) || isFull(quota.rpd);

/** Quotas by project. */
export function quotas(section) {
  const draw = groups(section, 'No quota is in use yet: a model shows up with its first request.', {
    parts: body => list(body.appendChild(el('ul', { class: 'quotas' })), quotaRow, { steady: true }),
    rank: quota => isTrouble(quota) ? 0 : 1,
    name: quota => quota.model,
    words: quota => `${quota.project} ${quota.model} ${quotaWord(quota)}`,
    summary: quotas => {
      const held = quotas.filter(quota => quota.held_s != null).length;
      const full = quotas.filter(quota => isFull(quota.rpd)).length;
      const day = Math.max(0, ...quotas.map(({ rpd }) => shareOf(rpd)));
      return [plural(quotas.length, 'model'), held && `${held} held`, full && `${full} used up for the day`, !full && day > 0 && `day ${percent(day)} used`];
    },
  });
  return (state, filter) => draw(state?.quotas, filter);
}

function quotaRow() {
  const mark = sign();
  const model = el('b');
  const frees = el('span');
  const meters = ['rpm', 'tpm', 'rpd'].map(name => [name, meter(name)]);
  const node = el('li', {}, model, el('span', { class: 'state' }, mark.node, frees), el('span', { class: 'meters' }, ...meters.map(([, { node }]) => node)));
  const update = quota => {
    say(model, quota.model);
    for (const [name, { update }] of meters) update(quota[name]);
    mark.update(quota.held_s != null ? 'temporary' : isTrouble(quota) ? 'full' : quota.frees_in_s ? 'cooldown' : 'available');
    set(node, 'data-tone', isTrouble(quota) ? 'bad' : quota.frees_in_s ? 'warn' : 'good');
    say(frees, quotaWord(quota));
  };
  return { node, update };
}

function quotaWord(quota) {
  const { held_s: held, frees_in_s: frees, rpd } = quota;
  if (isNone(quota)) return 'no quota';
  if (held != null) return `held for ${span(held)}`;
  if (frees) return `${isFull(rpd) ? 'used up' : 'full'}, room in ${span(frees)}`;
  return isFull(rpd) ? 'used up for the day' : 'has room';
}

/** Keys by project. */
export function keys(section) {
  const draw = groups(section, 'There is no key.', {
    parts: body => {
      const troubled = list(body.appendChild(el('ul', { class: 'troubled' })), keyRow, { steady: true });
      const fine = list(body.appendChild(el('ul', { class: 'fine-keys' })), keyCell, { steady: true });
      return entries => {
        troubled(entries.filter(([, key]) => key.state !== 'AVAILABLE'));
        fine(entries.filter(([, key]) => key.state === 'AVAILABLE'));
      };
    },
    rank: key => keyState(key.state).rank,
    isProblem: key => Boolean(keyState(key.state).trouble),
    name: key => key.name,
    words: key => `${key.project} ${key.name} ${keyState(key.state).word} ${key.state} ${key.reason ?? ''}`,
    summary: keys => {
      const by = Map.groupBy(keys, key => key.state);
      const states = [...by].sort(([a], [b]) => keyState(a).rank - keyState(b).rank);
      return states.length === 1 && by.has('AVAILABLE') ? [`${count(keys.length)} available`] : states.map(([state, some]) => `${some.length} ${keyState(state).word}`);
    },
  });
  return (state, filter) => draw(state?.keys, filter);
}

function keyRow() {
  const mark = sign();
  const [name, word, left, active, reason] = ['b', 'span', 'span', 'span', 'p'].map(tag => el(tag));
  set(left, 'class', 'value');
  set(active, 'class', 'note');
  const node = el('li', {}, el('div', { class: 'line' }, name, el('span', { class: 'state' }, mark.node, word), left, active), reason);
  const update = key => {
    const state = keyState(key.state);
    set(node, 'data-tone', state.tone);
    mark.update(state.mark);
    say(name, key.name);
    say(word, state.word);
    say(left, key.seconds_left == null ? '' : `for ${span(key.seconds_left)}`);
    say(active, key.active ? `${key.active} under way` : '');
    say(reason, key.reason ?? '');
    show(reason, Boolean(key.reason));
  };
  return { node, update };
}

function keyCell() {
  const mark = sign();
  mark.update('available');
  const name = el('span', { class: 'name' });
  const active = el('span', { class: 'value' });
  const node = el('li', { 'data-tone': 'good' }, mark.node, el('span', { class: 'unseen' }, 'available: '), name, active);
  const update = key => {
    say(name, key.name);
    say(active, key.active ? `${key.active} active` : '');
    set(node, 'title', `${key.name}: available, ${key.active} under way${key.reason ? `, ${key.reason}` : ''}`);
  };
  return { node, update };
}

/** Foldable groups of `items` by their project, cut down to what the filter lets through. */
function groups(section, emptiness, { parts, rank, isProblem = item => rank(item) === 0, name, words, summary }) {
  const empty = section.appendChild(el('p', { class: 'empty' }));
  const chosen = new Map();
  const draw = list(section.appendChild(el('div', { class: 'groups' })), () => group(parts, summary, chosen), { steady: true });
  let told = [];
  let filter = { lets: () => true, active: false };
  const redraw = () => {
    const shown = told.filter(item => filter.lets(words(item), isProblem(item)));
    const entries = [...Map.groupBy(shown, item => item.project)].map(([project, items]) => {
      items.sort((a, b) => rank(a) - rank(b) || name(a).localeCompare(name(b), 'en', { numeric: true }));
      const open = filter.active || shown.length <= ROOMY || isProblem(items[0]);
      return [project, { project, open, worst: rank(items[0]), items, rows: items.map(item => [name(item), item]), filtered: filter.active }];
    });
    entries.sort(([a, { worst }], [b, { worst: other }]) => worst - other || a.localeCompare(b, 'en', { numeric: true }));
    draw(entries);
    say(empty, told.length ? 'Nothing here passes the filter.' : emptiness);
    show(empty, shown.length === 0);
    return { shown: shown.length, all: told.length, problems: told.filter(isProblem).length };
  };
  return (items, newFilter) => {
    told = items ?? told;
    filter = newFilter ?? filter;
    return redraw();
  };
}

function group(parts, summarize, chosen) {
  const title = el('b');
  const note = el('span', { class: 'note' });
  const head = el('summary', {}, title, note);
  const node = el('details', {}, head);
  const fillIn = parts(node);
  let project;
  let latest;
  // What a reader opens or shuts stays so, whatever the figures say later.
  head.addEventListener('click', () => chosen.set(project, !node.open));
  node.addEventListener('toggle', () => node.open && fillIn(latest.rows));
  const update = told => {
    latest = told;
    project = told.project;
    const open = told.filtered || (chosen.get(project) ?? told.open);
    if (node.open !== open) node.open = open;
    say(title, project);
    say(note, summarize(told.items).filter(Boolean).join(' · '));
    if (open) fillIn(told.rows);
  };
  return { node, update };
}
