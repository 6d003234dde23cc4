// The top of the page: is it healthy, why not, how busy is it, what waits and for what.

import { el, list, say, set, show, sign, svg } from './dom.js';
import { count, healthState, millis, percent, plural, rate, short, span } from './words.js';

/** Seconds over which the rate of now is taken; fewer jump about, more lag behind. */
const RECENT = 10;

/** Draws into the page's own elements; returns what takes a state. */
export function overview(root) {
  const health = root.querySelector('#health');
  const verdict = sign();
  const word = el('span');
  root.querySelector('#verdict').append(verdict.node, word);
  const reasons = list(root.querySelector('#reasons'), () => {
    const node = el('li');
    return { node, update: reason => say(node, reason) };
  });
  const waiting = root.querySelector('#waiting');
  const strip = figures(root.querySelector('#strip'));

  return state => {
    const { word: told, tone } = healthState(state.health?.state);
    set(health, 'data-tone', tone);
    verdict.update(tone);
    say(word, told);
    const why = state.health?.reasons ?? [];
    reasons((why.length ? why : [calm(state)]).map(reason => [reason, reason]));
    const sentence = queue(state.queue ?? {});
    say(waiting, sentence);
    show(waiting, Boolean(sentence));
    strip(state);
  };
}

/** What there is to say when nothing is wrong. */
function calm({ keys, quotas }) {
  const good = keys.filter(key => key.state === 'AVAILABLE').length;
  const models = new Set(quotas.map(quota => quota.model)).size;
  const available = good === keys.length ? `${plural(good, 'key')} available` : `${count(good)} of ${plural(keys.length, 'key')} available`;
  return models ? `${available}, ${plural(models, 'model')} in use.` : `${available}.`;
}

/** What waits, how long, and for what. */
function queue({ waiting = 0, paused = 0, bound, oldest_wait_s: oldest, for: cause }) {
  if (!waiting && !paused) return '';
  const parts = [];
  if (waiting) parts.push(`${plural(waiting, 'request')} ${waiting === 1 ? 'waits' : 'wait'}${oldest == null ? '' : `, the oldest for ${span(oldest)}`}.`);
  if (paused) parts.push(`${plural(paused, 'request')} ${paused === 1 ? 'pauses' : 'pause'} before another try.`);
  if (cause) {
    const of = [cause.model && ` of ${cause.model}`, cause.project && ` in ${cause.project}`].filter(Boolean).join('');
    parts.push(`The next needs ${cause.reason}${of}${cause.seconds_left == null ? '.' : `: free in ${span(cause.seconds_left)}.`}`);
  }
  if (bound && waiting >= bound / 2) parts.push(`The queue is ${percent(waiting / bound)} full; at ${count(bound)} requests are refused.`);
  return parts.join(' ');
}

function figures(strip) {
  const figure = (name, more) => {
    const value = el('span', { class: 'value' });
    const note = el('span', { class: 'note' });
    strip.append(el('div', {}, el('dt', {}, name), el('dd', {}, value, note, ...(more ? [more] : []))));
    return (text, beside) => {
      say(value, text);
      say(note, beside);
    };
  };
  const spark = sparkline();
  const now = figure('Requests a second', spark.node);
  const hour = figure('Answered this hour');
  const latency = figure('Latency');
  const waiting = figure('Waiting');
  const working = figure('Under way');
  const tokens = figure('Tokens');

  return ({ seconds, minutes, queue, workers, tokens: used }) => {
    const recent = seconds.slice(-RECENT);
    const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
    now(rate(recent.length ? (sum(recent, 'answered') + sum(recent, 'failed')) / recent.length : 0), `last ${RECENT} s`);
    spark.update(seconds);

    const [answered, failed, refused] = ['answered', 'failed', 'refused'].map(name => sum(minutes, name));
    const ended = answered + failed + refused;
    hour(ended ? percent(answered / ended) : '–', `${short(answered)} · ${short(failed)} failed · ${short(refused)} refused`);

    const measured = minutes.findLast(minute => minute.p50_ms != null);
    latency(millis(measured?.p50_ms), measured ? `p95 ${millis(measured.p95_ms)} · ${minutes.at(-1) === measured ? 'this minute' : 'last traffic'}` : 'no traffic');
    waiting(count(queue.waiting), queue.oldest_wait_s == null ? 'nothing waits' : `oldest ${span(queue.oldest_wait_s)}`);
    working(count(workers.active), `of ${count(workers.max)}${workers.running ? '' : ' · stopping'}`);
    tokens(short((used?.input ?? 0) + (used?.output ?? 0)), `${short(used?.input)} in · ${short(used?.output)} out`);
  };
}

/** The last minute, a bar for each second. */
function sparkline() {
  const answered = svg('path', { class: 'answered' });
  const failed = svg('path', { class: 'failed' });
  const node = svg('svg', { class: 'spark', viewBox: '0 0 120 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, answered, failed);
  const update = seconds => {
    const top = Math.max(1, ...seconds.map(second => second.answered + second.failed));
    const bars = { answered: '', failed: '' };
    seconds.forEach((second, index) => {
      const x = 120 - (seconds.length - index) * 2;
      const good = (second.answered / top) * 20;
      const bad = (second.failed / top) * 20;
      if (good) bars.answered += `M${x} 20v${-good.toFixed(2)}h1.5v${good.toFixed(2)}Z`;
      if (bad) bars.failed += `M${x} ${(20 - good).toFixed(2)}v${-bad.toFixed(2)}h1.5v${bad.toFixed(2)}Z`;
    });
    set(answered, 'd', bars.answered);
    set(failed, 'd', bars.failed);
  };
  return { node, update };
}
