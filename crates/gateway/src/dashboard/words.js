// Figures, times and states in words.

const NONE = '–';
const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const minuteOfDay = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const secondOfDay = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const count = number => number == null ? NONE : whole.format(number);
export const short = number => number == null ? NONE : Math.abs(number) < 10_000 ? whole.format(number) : compact.format(number);
export const percent = share => `${share > 0 && share < 0.01 ? '<1' : share < 1 ? Math.min(99, Math.round(share * 100)) : Math.round(share * 100)} %`;
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const clock = at => minuteOfDay.format(new Date(at));
export const stamp = at => secondOfDay.format(new Date(at));

/** A length of time: two units at most, tenths only below ten seconds. */
export function span(seconds) {
  if (seconds == null) return NONE;
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const left = Math.round(seconds);
  if (left < 60) return `${left} s`;
  for (const [size, unit, below, smaller] of [[86_400, 'd', 3_600, 'h'], [3_600, 'h', 60, 'min'], [60, 'min', 1, 's']]) {
    if (left < size) continue;
    const rest = Math.floor((left % size) / below);
    return rest ? `${Math.floor(left / size)} ${unit} ${rest} ${smaller}` : `${Math.floor(left / size)} ${unit}`;
  }
}

/** A length of time without tenths, for what only grows. */
export const age = seconds => seconds < 9.95 ? `${Math.floor(Math.max(0, seconds))} s` : span(seconds);

export const millis = ms => ms == null ? NONE : ms < 1_000 ? `${Math.round(ms)} ms` : span(ms / 1_000);

/** A rate: a decimal as long as it says something. */
export const rate = perSecond => perSecond < 9.95 ? perSecond.toFixed(1) : count(Math.round(perSecond));

/** What each state of a key is called and drawn as; the first are the worst. A short rest is part of the work and no trouble. */
const STATES = {
  FAILED_INIT: { word: 'dead', mark: 'dead', tone: 'bad', rank: 0, trouble: true },
  FULLY_EXHAUSTED: { word: 'fully exhausted', mark: 'full', tone: 'bad', rank: 1, trouble: true },
  TEMPORARILY_EXHAUSTED: { word: 'temporarily exhausted', mark: 'temporary', tone: 'warn', rank: 2, trouble: true },
  COOLDOWN: { word: 'cooling down', mark: 'cooldown', tone: 'warn', rank: 3 },
  AVAILABLE: { word: 'available', mark: 'available', tone: 'good', rank: 4 },
};

export const keyState = name =>
  STATES[name] ?? { word: String(name).toLowerCase().replaceAll('_', ' '), mark: 'unknown', tone: 'warn', rank: 2, trouble: true };

const HEALTH = {
  ok: { word: 'Healthy', tone: 'good' },
  degraded: { word: 'Degraded', tone: 'warn' },
  down: { word: 'Down', tone: 'bad' },
};

export const healthState = name => HEALTH[name] ?? { word: 'Unknown', tone: 'unknown' };

/** What a quota counts: in short, spelled out, and whether one waits long for more. */
export const DIMENSIONS = {
  rpm: ['RPM', 'requests a minute', false],
  tpm: ['TPM', 'tokens a minute', false],
  rpd: ['RPD', 'requests a day', true],
  daily_tokens: ['TPD', 'tokens a day', true],
};
