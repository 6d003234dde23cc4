// The stream of states: read with fetch, so that a token can go in a header; tried again when it breaks.

/** Milliseconds without a word after which a connection counts as dead; a state comes every second. */
const SILENCE = 8_000;
const LONGEST_PAUSE = 30_000;
const LONGEST_EVENT = 16 * 1024 * 1024;

/**
 * Follows the stream with a client's token, or without.
 *
 * `tell.state(state)` has each state, `tell.live()` each connection, `tell.lost(why, retryAt)` each break with the instant
 * (`performance.now()`) of the next try, `tell.stranger()` that the token is wanted or wrong; then it is over.
 */
export function follow(token, tell) {
  let failures = 0;
  let stopped = false;
  let connection;
  let pause;

  async function connect() {
    clearTimeout(pause);
    connection?.abort();
    const mine = connection = new AbortController();
    let silence;
    let live = false;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => mine.abort(new Error(`it said nothing for ${SILENCE / 1_000} s`)), SILENCE);
    };
    try {
      heard();
      const headers = { accept: 'text/event-stream', ...(token && { authorization: `Bearer ${token}` }) };
      const answer = await fetch('api/events', { headers, cache: 'no-store', signal: mine.signal });
      if (answer.status === 401 || answer.status === 403) {
        stop();
        return tell.stranger();
      }
      if (!answer.ok) throw new Error(`it answered with status ${answer.status}`);
      for await (const { name, data } of events(answer.body)) {
        heard();
        if (name !== 'state') continue;
        const state = JSON.parse(data);
        if (stopped || connection !== mine) return;
        if (!live) tell.live();
        live = true;
        failures = 0;
        tell.state(state);
      }
      throw new Error('it ended the stream');
    } catch (error) {
      if (!stopped && connection === mine) later(reason(mine.signal.aborted ? mine.signal.reason : error));
    } finally {
      clearTimeout(silence);
      mine.abort();
    }
  }

  function later(why) {
    failures += 1;
    const wait = Math.min(LONGEST_PAUSE, 500 * 2 ** failures) * (0.8 + 0.4 * Math.random());
    pause = setTimeout(connect, wait);
    tell.lost(why, performance.now() + wait);
  }

  function stop() {
    stopped = true;
    clearTimeout(pause);
    connection?.abort();
  }

  connect();
  return { stop, now: connect };
}

/** Browsers name a server that is not there each in its own way. */
function reason(error) {
  if (error instanceof SyntaxError) return 'it sent something unreadable';
  return error instanceof TypeError ? 'nothing answers at its address' : error.message;
}

/** The events of a body of `text/event-stream`. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    if (rest.length > LONGEST_EVENT) throw new Error('it sent an event without an end');
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) yield event(block);
  }
}

function event(block) {
  const told = { name: 'message', data: '' };
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith('event:')) told.name = line.slice(6).trim();
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
  }
  told.data = data.join('\n');
  return told;
}
