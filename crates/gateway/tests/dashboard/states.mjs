// States as `/api/events` tells them: every health, every state of a key, few and many of everything.

const AT = Date.parse('2026-11-22T19:00:20Z');
const iso = ms => new Date(ms).toISOString().replace('.000Z', 'Z');

/** A repeatable stand-in for chance: the same page for the same test. */
const wave = (index, period, phase = 0) => (Math.sin((index / period + phase) * 2 * Math.PI) + 1) / 2;

const minute = (index, answered, failed = 0, refused = 0, slow = 1) => ({
  start: iso(AT - 20_000 - (59 - index) * 60_000),
  answered, failed, refused, retries: failed * 2,
  p50_ms: answered ? Math.round((700 + 300 * wave(index, 17)) * slow) : null,
  p95_ms: answered ? Math.round((1_500 + 1_400 * wave(index, 11, 0.3)) * slow) : null,
  queue_p95_ms: answered ? Math.round(40 * slow) : null,
});

const use = (used, limit) => ({ used, limit });

const quota = (project, model, share = 0.4, more = {}) => ({
  project, model,
  rpm: use(Math.round(10 * share), 10), tpm: use(Math.round(250_000 * share), 250_000), rpd: use(Math.round(1_500 * share), 1_500),
  held_s: null, frees_in_s: null, ...more,
});

const key = (project, number, state = 'AVAILABLE', more = {}) => ({
  project, name: `${project}/${number}`, state, active: state === 'AVAILABLE' ? number % 4 : 0, seconds_left: null, reason: null, ...more,
});

const fault = (secondsAgo, code, http_status, message, more = {}) => ({
  at: iso(AT - secondsAgo * 1_000), code, http_status, message, project: 'main', key: 'main/1', client: null, request_id: null, ...more,
});

const client = (name, requests, more = {}) => ({
  name, priority: 0, requests, answered: requests, failed: 0, refused: 0, waiting: 0, tokens: requests * 730,
  budgets: { rpm: null, tpm: null, daily_tokens: null }, ...more,
});

/** Just started: nobody has asked for anything. */
export const empty = () => ({
  at: iso(AT), version: '0.1.0', uptime_s: 4.2,
  health: { state: 'ok', reasons: [] },
  workers: { running: true, active: 0, max: 256 },
  queue: { waiting: 0, paused: 0, bound: 10_000, oldest_wait_s: null, for: null },
  quotas: [], keys: [key('main', 4)],
  minutes: [minute(59, 0)], seconds: [], tokens: { input: 0, output: 0 }, errors: [], clients: [],
});

/** A day's work, nothing wrong. */
export const busy = () => ({
  ...empty(), uptime_s: 93_784.5,
  workers: { running: true, active: 31, max: 256 },
  queue: { waiting: 40, paused: 3, bound: 10_000, oldest_wait_s: 3.2, for: { reason: 'RPM', project: 'main', model: 'gemini-3.8-flash', seconds_left: 4.3 } },
  quotas: [
    quota('main', 'gemini-3.8-flash', 1, { frees_in_s: 1.4, rpd: use(612, 1_500) }),
    quota('main', 'gemini-3.8-pro', 0.8, { tpm: use(1_804_000, 2_000_000), rpm: use(121, 150), rpd: use(8_204, 10_000) }),
    quota('side', 'gemini-3.8-flash', 0.3), quota('side', 'gemini-embedding-2', 0.1, { rpd: use(31, null) }),
  ],
  keys: [1, 2, 3].map(number => key('main', number)).concat([1, 2].map(number => key('side', number))),
  minutes: Array.from({ length: 60 }, (_, index) => minute(index, Math.round((80 + 70 * wave(index, 23)) * (index === 59 ? 0.3 : 1)), index % 13 === 5 ? 2 : 0, index % 19 === 7 ? 9 : 0)),
  seconds: Array.from({ length: 60 }, (_, index) => ({ answered: Math.round(1 + 4 * wave(index, 9)), failed: index === 31 ? 1 : 0 })),
  tokens: { input: 48_203_110, output: 9_120_004 },
  errors: [
    fault(74, 'UNAVAILABLE', 503, 'The model is overloaded. Please try again later.', { key: 'main/2', client: 'notebook', request_id: 'a41f09c2-0004f1' }),
    fault(412, 'INVALID_ARGUMENT', 400, 'Request contains an invalid argument: contents[0].parts[0] has neither text nor data.', { key: null, client: 'night-batch', request_id: 'a41f09c2-0003aa' }),
  ],
  clients: [
    client('notebook', 3_120, { priority: 10, waiting: 4, budgets: { rpm: use(3, 10), tpm: use(21_000, 100_000), daily_tokens: null } }),
    client('chat-bot', 18_411, { priority: 20, failed: 12, answered: 18_399, waiting: 31 }),
    client('night-batch', 60_212, { priority: -5, refused: 9, answered: 60_203, waiting: 5, budgets: { rpm: null, tpm: null, daily_tokens: use(4_120_000, 5_000_000) } }),
  ],
});

/** Every state of a key at once, a held quota, a day used up, a client over its budget. */
export const degraded = () => ({
  ...busy(),
  health: { state: 'degraded', reasons: ['1 of 6 keys is dead', 'gemini-3.8-pro in main is held for 41 s after a refusal', 'project side has used its requests of the day'] },
  keys: [
    key('main', 1), key('main', 2, 'COOLDOWN', { seconds_left: 12.5, active: 1, reason: 'a pause between two requests of one key' }),
    key('main', 3, 'TEMPORARILY_EXHAUSTED', { seconds_left: 64, reason: '429 RESOURCE_EXHAUSTED without details; the third in a row' }),
    key('main', 4, 'FULLY_EXHAUSTED', { seconds_left: 46_800, reason: 'GenerateRequestsPerDayPerProjectPerModel-FreeTier: the day of this quota ends at midnight in Los Angeles' }),
    key('main', 5, 'FAILED_INIT', { reason: 'API key not valid. Please pass a valid API key.' }),
    key('side', 1),
  ],
  quotas: [
    quota('main', 'gemini-3.8-flash', 1, { frees_in_s: 1.4, rpd: use(612, 1_500) }), quota('main', 'gemini-3.8-pro', 0.6, { held_s: 41 }),
    quota('side', 'gemini-3.8-flash', 0, { rpd: use(1_500, 1_500), frees_in_s: 46_811 }), quota('side', 'gemini-embedding-2', 0.1),
  ],
  minutes: busy().minutes.map((told, index) => index < 48 ? told : minute(index, Math.round(told.answered * 0.5), 14 + index % 7, 22 - index % 5, 2.2)),
  errors: Array.from({ length: 14 }, (_, index) => fault(3 + index * 31, index % 3 ? 'RESOURCE_EXHAUSTED' : 'UNAVAILABLE', index % 3 ? 429 : 503,
    index % 3 ? 'You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded for metric: generate_content_requests, limit: 10, model: gemini-3.8-pro\nPlease retry in 41.2s.' : 'The model is overloaded. Please try again later.',
    { key: `main/${1 + index % 4}`, client: 'notebook', request_id: `a41f09c2-${String(1_200 - index).padStart(6, '0')}` })),
  clients: busy().clients.map(told => told.name === 'night-batch' ? { ...told, refused: 240, budgets: { ...told.budgets, daily_tokens: use(5_000_000, 5_000_000) } } : told),
});

/** No key is left. */
export const down = () => ({
  ...degraded(),
  health: { state: 'down', reasons: ['no usable key is left: 2 of 2 keys are dead'] },
  workers: { running: false, active: 0, max: 256 },
  queue: { waiting: 8_120, paused: 0, bound: 10_000, oldest_wait_s: 291, for: null },
  keys: [1, 2].map(number => key('main', number, 'FAILED_INIT', { reason: 'API key not valid. Please pass a valid API key.' })),
  seconds: Array.from({ length: 60 }, () => ({ answered: 0, failed: 4 })),
});

/** 200 keys in 20 projects, 60 quotas, 50 clients, 50 errors; `turn` moves the figures. */
export const many = (turn = 0) => ({
  ...degraded(), at: iso(AT + turn * 1_000),
  quotas: Array.from({ length: 60 }, (_, index) => quota(`team-${index % 20 + 1}`, ['gemini-3.8-flash', 'gemini-3.8-pro', 'gemini-embedding-2'][Math.floor(index / 20)], wave(index + turn, 7), index === 33 ? { held_s: 20 } : {})),
  keys: Array.from({ length: 200 }, (_, index) => key(`team-${index % 20 + 1}`, Math.floor(index / 20) + 1, index === 47 ? 'FAILED_INIT' : index % 37 === 5 ? 'COOLDOWN' : 'AVAILABLE',
    { active: (index + turn) % 5, seconds_left: index % 37 === 5 && index !== 47 ? 30 - turn % 30 : null, reason: index === 47 ? 'API key not valid. Please pass a valid API key.' : null })),
  clients: Array.from({ length: 50 }, (_, index) => client(`client-${index + 1}`, 1_000 + index * 31 + turn, { waiting: index % 9, budgets: { rpm: index % 3 ? null : use(index % 11, 10), tpm: null, daily_tokens: null } })),
  errors: Array.from({ length: 50 }, (_, index) => fault(index * 11, 'UNAVAILABLE', 503, `The model is overloaded (${index}).`, { request_id: `a41f09c2-00${9_000 - index}` })),
});

/** What must show as text. */
export const MARKUP = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>';

/** Markup wherever somebody else chooses the words. */
export const hostile = () => {
  const state = degraded();
  return {
    ...state,
    health: { state: 'degraded', reasons: [MARKUP] },
    queue: { ...state.queue, for: { reason: MARKUP, project: MARKUP, model: MARKUP, seconds_left: 1 } },
    quotas: [quota(MARKUP, MARKUP)], keys: [key(MARKUP, 1, 'COOLDOWN', { name: MARKUP, reason: MARKUP })],
    errors: [fault(1, MARKUP, 400, MARKUP, { project: MARKUP, key: MARKUP, client: MARKUP, request_id: MARKUP })],
    clients: [client(MARKUP, 1)],
  };
};
