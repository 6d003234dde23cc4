// The last hour by minutes: what became of requests, how long they took, and the same as a table.

import { el, list, say, set, show, svg } from './dom.js';
import { clock, count, millis, rate, short } from './words.js';

const MINUTES = 60;
const HEIGHT = 150;
const EDGE = { left: 46, right: 2, top: 8, bottom: 20 };
const FLOOR = HEIGHT - EDGE.bottom;

/** Both charts, one cursor for both, and the table. */
export function charts(root) {
  const cursor = { start: null, charts: [] };
  const traffic = chart(cursor, {
    title: 'Requests a minute',
    parts: [['answered', 'answered'], ['refused', 'refused'], ['failed', 'failed']],
    top: minute => minute.answered + minute.refused + minute.failed,
    tick: short,
    values: minute => [count(minute.answered), count(minute.refused), count(minute.failed), '', `${rate((minute.answered + minute.refused + minute.failed) / 60)} a second, ${count(minute.retries)} retries`],
    draw: bars,
  });
  const latency = chart(cursor, {
    title: 'Latency',
    parts: [['p50', 'p50'], ['p95', 'p95']],
    top: minute => minute.p95_ms ?? minute.p50_ms ?? 0,
    tick: millis,
    values: minute => [millis(minute.p50_ms), millis(minute.p95_ms), `in the queue p95 ${millis(minute.queue_p95_ms)}`],
    draw: lines,
  });
  cursor.charts = [traffic, latency];
  const rows = table();
  root.append(el('div', { class: 'pair' }, traffic.node, latency.node), rows.node);
  return ({ minutes }) => {
    for (const each of cursor.charts) each.update(minutes);
    rows.update(minutes);
  };
}

function chart(cursor, { title, parts, top, tick, values, draw }) {
  const time = el('b');
  const told = parts.map(([name, word]) => {
    const value = el('span', { class: 'value' });
    return { value, node: el('span', { class: 'part' }, el('i', { class: name, 'aria-hidden': 'true' }), value, ` ${word}`) };
  });
  const more = el('span', { class: 'more' });
  const picture = svg('svg', { height: HEIGHT, 'aria-hidden': 'true' });
  const plot = el('div', {
    class: 'plot', tabindex: 0, role: 'slider', 'aria-label': `${title}, the last hour; arrow keys go from minute to minute`,
    'aria-valuemin': 0,
  }, picture);
  const node = el('figure', {}, el('figcaption', {}, el('h2', {}, title), el('p', { class: 'readout' }, time, ...told.map(part => part.node), more)), plot);

  const ink = frame(picture, parts);
  let minutes = [];
  let width = 0;

  const chosen = () => {
    const found = minutes.findIndex(minute => minute.start === cursor.start);
    return found >= 0 ? found : Math.max(0, minutes.length - 2);
  };
  const point = start => {
    cursor.start = start;
    for (const each of cursor.charts) each.read();
  };
  const read = () => {
    if (!minutes.length) return;
    const index = chosen();
    const minute = minutes[index];
    const words = values(minute);
    const running = index === minutes.length - 1 ? ' so far' : '';
    say(time, `${clock(minute.start)}${running}`);
    told.forEach((part, at) => say(part.value, words[at]));
    say(more, words.at(-1));
    set(plot, 'aria-valuemax', minutes.length - 1);
    set(plot, 'aria-valuenow', index);
    set(plot, 'aria-valuetext', `${clock(minute.start)}${running}: ${parts.map(([, word], at) => `${words[at]} ${word}`).join(', ')}, ${words.at(-1)}`);
    set(ink.cursor, 'x', slot(index, minutes.length, width));
    set(ink.cursor, 'width', step(width));
    set(ink.cursor, 'data-shown', minute.start === cursor.start);
  };
  const redraw = () => {
    if (!width) return;
    const most = Math.max(0, ...minutes.map(top));
    scale(ink, ceiling(most), tick, minutes, width);
    draw(ink, minutes, ceiling(most), width);
    show(ink.nothing, most === 0);
    set(ink.nothing, 'x', Math.round((EDGE.left + width) / 2));
    read();
  };

  plot.addEventListener('pointermove', event => {
    const index = Math.floor((event.offsetX - EDGE.left) / step(width)) - (MINUTES - minutes.length);
    const minute = minutes[Math.min(Math.max(index, 0), minutes.length - 1)];
    if (minute) point(minute.start);
  });
  plot.addEventListener('pointerleave', () => point(null));
  plot.addEventListener('focus', () => plot.matches(':focus-visible') && point(minutes[chosen()]?.start ?? null));
  plot.addEventListener('blur', () => point(null));
  plot.addEventListener('keydown', event => {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -MINUTES, End: MINUTES };
    if (event.key in moves && minutes.length) {
      event.preventDefault();
      point(minutes[Math.min(Math.max(chosen() + moves[event.key], 0), minutes.length - 1)].start);
    }
  });
  new ResizeObserver(([entry]) => {
    width = Math.floor(entry.contentRect.width);
    set(picture, 'width', width);
    redraw();
  }).observe(plot);

  const update = told => {
    minutes = told.slice(-MINUTES);
    redraw();
  };
  return { node, update, read };
}

const step = width => (width - EDGE.left - EDGE.right) / MINUTES;
const slot = (index, length, width) => EDGE.left + (MINUTES - length + index) * step(width);
const height = (value, highest) => (value / highest) * (FLOOR - EDGE.top);

/** The next of 1, 2, 5, 10, ... that is not below. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map(factor => factor * power).find(nice => nice >= value) ?? 1;
}

/** What both charts are made of: grid, axis texts, one path for each part, the cursor. */
function frame(picture, parts) {
  const ticks = [0, 0.5, 1].map(share => ({ share, line: svg('path', { class: 'grid' }), text: svg('text', { class: 'y' }) }));
  const hours = Array.from({ length: 5 }, () => svg('text', { class: 'x', y: HEIGHT - 4 }));
  const nothing = svg('text', { class: 'x', y: HEIGHT / 2 - 8 }, 'nothing in the last hour');
  const cursor = svg('rect', { class: 'cursor', y: EDGE.top, height: FLOOR - EDGE.top });
  const hatch = svg('pattern', { id: 'hatch', width: 4, height: 4, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
    svg('rect', { class: 'ground', width: 4, height: 4 }), svg('rect', { class: 'stripe', width: 2, height: 4 }));
  const paths = Object.fromEntries(parts.map(([name]) => [name, svg('path', { class: name })]));
  const running = Object.fromEntries(parts.map(([name]) => [name, svg('path', { class: `${name} running` })]));
  picture.append(svg('defs', {}, hatch), ...ticks.flatMap(({ line, text }) => [line, text]), ...hours, nothing, cursor, ...Object.values(paths), ...Object.values(running));
  return { ticks, hours, nothing, cursor, paths, running };
}

function scale({ ticks, hours }, highest, tick, minutes, width) {
  for (const { share, line, text } of ticks) {
    const y = Math.round(FLOOR - share * (FLOOR - EDGE.top)) + 0.5;
    set(line, 'd', `M${EDGE.left} ${y}H${width - EDGE.right}`);
    set(text, 'x', EDGE.left - 6);
    set(text, 'y', y + 4);
    say(text, share * highest === Math.round(share * highest) ? tick(share * highest) : '');
  }
  const quarters = minutes.map((minute, index) => ({ start: minute.start, index })).filter(({ start }) => new Date(start).getUTCMinutes() % 15 === 0);
  hours.forEach((text, at) => {
    const quarter = quarters[at];
    const x = quarter && slot(quarter.index, minutes.length, width) + step(width) / 2;
    const fits = quarter && x > EDGE.left + 14 && x < width - 14;
    show(text, Boolean(fits));
    say(text, fits ? clock(quarter.start) : '');
    if (fits) set(text, 'x', x.toFixed(1));
  });
}

/** Stacked bars; the running minute is drawn paler, since it is not all there yet. */
function bars({ paths, running }, minutes, highest, width) {
  const wide = Math.max(1, step(width) - 1.5).toFixed(2);
  const drawn = Object.fromEntries(Object.keys(paths).map(name => [name, '']));
  const last = { ...drawn };
  minutes.forEach((minute, index) => {
    const target = index === minutes.length - 1 ? last : drawn;
    let floor = FLOOR;
    for (const name of Object.keys(paths)) {
      if (!minute[name]) continue;
      // A single failure among thousands must still be seen.
      const tall = Math.max(1.5, height(minute[name], highest));
      target[name] += `M${slot(index, minutes.length, width).toFixed(2)} ${floor.toFixed(2)}v${-tall.toFixed(2)}h${wide}v${tall.toFixed(2)}Z`;
      floor -= tall;
    }
  });
  for (const name of Object.keys(paths)) {
    set(paths[name], 'd', drawn[name]);
    set(running[name], 'd', last[name]);
  }
}

/** A line for each part, broken where nothing was measured. */
function lines({ paths }, minutes, highest, width) {
  for (const name of Object.keys(paths)) {
    let drawn = '';
    let pen = 'M';
    minutes.forEach((minute, index) => {
      const ms = minute[`${name}_ms`];
      const x = slot(index, minutes.length, width) + step(width) / 2;
      // A line begins with a dash, so that a minute without neighbours is seen.
      if (ms != null) drawn += `${pen}${(pen === 'M' ? x - 2 : x).toFixed(2)} ${(FLOOR - height(ms, highest)).toFixed(2)}${pen === 'M' ? 'h4' : ''}`;
      pen = ms == null ? 'M' : 'L';
    });
    set(paths[name], 'd', drawn);
  }
}

/** The same figures for who reads rather than sees; only kept up while it is open. */
function table() {
  const columns = ['Minute', 'Answered', 'Refused', 'Failed', 'Retries', 'p50', 'p95', 'Queue p95'];
  const body = el('tbody');
  const fillIn = list(body, () => {
    const cells = columns.map((_, at) => el(at ? 'td' : 'th', at ? {} : { scope: 'row' }));
    const update = minute => {
      const { start, answered, refused, failed, retries, p50_ms: p50, p95_ms: p95, queue_p95_ms: queue } = minute;
      [clock(start), ...[answered, refused, failed, retries].map(count), ...[p50, p95, queue].map(millis)].forEach((text, at) => say(cells[at], text));
    };
    return { node: el('tr', {}, ...cells), update };
  });
  const head = el('tr', {}, ...columns.map(name => el('th', { scope: 'col' }, name)));
  const wide = el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'The last hour, minute by minute' },
    el('table', {}, el('caption', { class: 'unseen' }, 'Requests and latency by minute, the latest first'), el('thead', {}, head), body));
  const node = el('details', { class: 'minutes' }, el('summary', {}, 'The last hour as a table'), wide);
  let minutes = [];
  const redraw = () => node.open && fillIn(minutes.toReversed().map(minute => [minute.start, minute]));
  node.addEventListener('toggle', redraw);
  const update = told => {
    minutes = told;
    redraw();
  };
  return { node, update };
}
