// Clients with what they use, and the errors of late with their reasons.

import { el, list, say, set, show, sign } from './dom.js';
import { isFull, meter } from './groups.js';
import { age, count, short, stamp } from './words.js';

const COLUMNS = [['requests', 'Requests'], ['answered', 'Answered'], ['failed', 'Failed'], ['refused', 'Refused'], ['waiting', 'Waiting'], ['tokens', 'Tokens']];
/** So many rows are there at first; a button brings the rest. */
const CLIENTS = 15;
const ERRORS = 10;
const BUDGETS = ['rpm', 'tpm', 'daily_tokens'];

const overBudget = client => isFull(client.budgets?.daily_tokens);

/** Clients, those whose day is used up first. */
export function clients(section) {
  const empty = section.appendChild(el('p', { class: 'empty' }));
  const head = el('div', { class: 'head', role: 'row' }, ...['Client', ...COLUMNS.map(([, word]) => word)].map(word => el('span', { role: 'columnheader' }, word)));
  const body = el('div', { role: 'rowgroup' });
  const node = section.appendChild(el('div', { class: 'clients', role: 'table', 'aria-label': 'Clients' }, el('div', { role: 'rowgroup' }, head), body));
  const draw = list(body, clientRow, { steady: true });
  return filtered(
    section, CLIENTS,
    (all, lets, most) => {
      const shown = all.filter(client => lets(`${client.name} ${overBudget(client) ? 'over budget' : ''}`, overBudget(client)));
      shown.sort((a, b) => overBudget(b) - overBudget(a) || b.priority - a.priority || a.name.localeCompare(b.name, 'en', { numeric: true }));
      draw(shown.slice(0, most).map(client => [client.name, client]));
      show(node, shown.length > 0);
      say(empty, all.length ? 'Nothing here passes the filter.' : 'Nobody has asked yet.');
      show(empty, shown.length === 0);
      return { shown: shown.length, all: all.length, problems: all.filter(overBudget).length };
    },
    state => state.clients,
  );
}

function clientRow() {
  const name = el('b');
  const priority = el('span', { class: 'note' });
  const cells = COLUMNS.map(([field, word]) => {
    const value = el('span', { class: 'value' });
    return { field, value, node: el('span', { role: 'cell', class: `number ${field}` }, el('span', { class: 'label', 'aria-hidden': 'true' }, word), value) };
  });
  const mark = sign();
  mark.update('full');
  const over = el('span', { class: 'state' }, mark.node, 'budget of the day used up');
  const meters = BUDGETS.map(budget => [budget, meter(budget)]);
  const budgets = el('div', { class: 'budgets', role: 'cell' }, over, el('span', { class: 'meters' }, ...meters.map(([, { node }]) => node)));
  const node = el('div', { class: 'row', role: 'row' }, el('span', { role: 'rowheader', class: 'who' }, name, priority), ...cells.map(cell => cell.node), budgets);
  const update = client => {
    say(name, client.name);
    say(priority, client.priority ? `priority ${client.priority}` : '');
    for (const { field, value, node } of cells) {
      say(value, short(client[field]));
      set(node, 'data-zero', !client[field]);
    }
    for (const [budget, { update }] of meters) update(client.budgets?.[budget]);
    set(node, 'data-tone', overBudget(client) ? 'bad' : 'good');
    show(over, overBudget(client));
    show(budgets, BUDGETS.some(budget => client.budgets?.[budget]));
  };
  return { node, update };
}

/** Errors, the newest first; each opens to all that is known of it. */
export function errors(section) {
  const empty = section.appendChild(el('p', { class: 'empty' }));
  const tally = section.appendChild(el('p', { class: 'tally' }));
  const draw = list(section.appendChild(el('div', { class: 'errors' })), errorRow);
  return filtered(
    section, ERRORS,
    (all, lets, most, now) => {
      const shown = all.filter(error => lets(Object.values(error).join(' '), true));
      draw(shown.slice(0, most).map(error => [JSON.stringify(error), { ...error, now }]));
      const codes = [...Map.groupBy(shown, error => error.code)].sort(([, a], [, b]) => b.length - a.length);
      say(tally, codes.map(([code, some]) => `${some.length} ${code}`).join(' · '));
      say(empty, all.length ? 'Nothing here passes the filter.' : 'None since it started.');
      show(empty, shown.length === 0);
      return { shown: shown.length, all: all.length, problems: all.length };
    },
    state => state.errors,
  );
}

function errorRow() {
  const time = el('time');
  const [code, ago, first, message] = ['b', 'span', 'span', 'p'].map(tag => el(tag));
  set(ago, 'class', 'note');
  set(first, 'class', 'first');
  const facts = el('dl');
  const node = el('details', {}, el('summary', {}, time, code, ago, first), message, facts);
  let drawn = false;
  const update = error => {
    say(ago, `${age((Date.parse(error.now) - Date.parse(error.at)) / 1_000)} ago`);
    // Its key is all that it says: only its age can change.
    if (drawn) return;
    drawn = true;
    set(time, 'datetime', error.at);
    say(time, stamp(error.at));
    say(code, error.http_status == null ? error.code : `${error.http_status} ${error.code}`);
    say(first, error.message);
    say(message, error.message);
    const known = [['Project', error.project], ['Key', error.key], ['Client', error.client], ['Request', error.request_id], ['At', error.at]];
    facts.replaceChildren(...known.filter(([, value]) => value != null).map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
  };
  return { node, update };
}

/** A list that remembers its last state and its last filter, and shows `few` rows until asked for all. */
function filtered(section, few, draw, of) {
  const more = section.appendChild(el('button', { type: 'button', class: 'more-rows', 'aria-expanded': 'false' }));
  let whole = false;
  let all = [];
  let now;
  let lets = () => true;
  const redraw = () => {
    const told = draw(all, lets, whole ? Infinity : few, now);
    show(more, told.shown > few);
    set(more, 'aria-expanded', String(whole));
    say(more, whole ? `Show the first ${few}` : `Show all ${count(told.shown)}`);
    return told;
  };
  more.addEventListener('click', () => {
    whole = !whole;
    redraw();
  });
  return (state, filter) => {
    if (state) [all, now] = [of(state) ?? [], state.at];
    if (filter) lets = filter.lets;
    return redraw();
  };
}
