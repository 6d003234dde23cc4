// The fields of a template as they arrive: value, where it came from, and the words that show it.

import { el, say, set, show } from './dom.js';
import { percent } from './words.js';

const ORIGINS = {
  model: ['from the model', null],
  cache: ['from the cache', null],
  pattern: ['by pattern', 'warn'],
  missing: ['nothing found', 'bad'],
};

/** Rows in `parent`, one for each field; `settle` tells how many have their value. */
export function fieldRows(parent) {
  const rows = new Map();
  const settled = new Set();
  parent.replaceChildren();
  const row = name => {
    if (!rows.has(name)) rows.set(name, made(parent, name));
    return rows.get(name);
  };
  return {
    expect: names => names.forEach(row),
    asked: names => names.forEach(name => settled.has(name) || row(name).waits('asking')),
    settle(field) {
      settled.add(field.name);
      row(field.name).update(field);
      return settled.size;
    },
  };
}

function made(parent, name) {
  const origin = el('span', { class: 'origin' }, 'waiting');
  const trust = el('span');
  const value = el('p', { class: 'value', hidden: true });
  const note = el('p', { class: 'note', hidden: true });
  const where = el('summary');
  const text = el('blockquote');
  const source = el('details', { hidden: true }, where, text);
  const node = el('li', { 'data-waiting': true }, el('p', { class: 'head' }, el('b', {}, name), origin, trust), value, note, source);
  parent.append(node);
  return {
    waits: word => say(origin, word),
    update(field) {
      const [word, tone] = ORIGINS[field.origin] ?? [field.origin, 'warn'];
      const unsupported = field.support === 'unsupported';
      set(node, 'data-waiting', null);
      set(node, 'data-tone', field.origin === 'missing' && !field.required ? null : unsupported ? 'warn' : tone);
      say(origin, field.pending ? 'could not be asked' : `${word}${field.required && field.origin === 'missing' ? ' (required)' : ''}`);
      say(trust, [field.confidence != null && `${percent(field.confidence)} sure`, unsupported && 'its quote stands in no source'].filter(Boolean).join(', '));
      show(value, true);
      set(value, 'data-none', field.value == null);
      say(value, written(field.value));
      show(note, Boolean(field.note));
      say(note, field.note ?? '');
      show(source, Boolean(field.quote || field.source));
      say(where, place(field.source) || 'Quote');
      text.replaceChildren(...marked(field.source?.text || field.quote || '', field.quote));
    },
  };
}

const written = value => value == null ? 'empty' : typeof value === 'string' ? value : typeof value === 'boolean' ? (value ? 'yes' : 'no') : JSON.stringify(value, null, 1);

const place = source => source && [source.document, source.heading, source.page && `page ${source.page}`, source.line && `line ${source.line}`].filter(Boolean).join(', ');

/** The text with the quote marked in it, whatever space and case lie between its words. */
function marked(text, quote) {
  const words = (quote ?? '').split(/[\s|]+/).filter(Boolean).map(word => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const found = words.length ? new RegExp(words.join('[\\s|]+'), 'iu').exec(text) : null;
  if (!found) return [text];
  const end = found.index + found[0].length;
  return [text.slice(0, found.index), el('mark', {}, found[0]), text.slice(end)];
}
