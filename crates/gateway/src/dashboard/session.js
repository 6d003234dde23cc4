// What the pages share of a visit: the client's token for as long as the tab, light and dark for good.

import { say, set } from './dom.js';

export const TOKEN = 'tidegate-token';
const THEME = 'tidegate-theme';

/** A store of the browser's, which may be forbidden. */
const stored = store => ({
  get: name => { try { return globalThis[store].getItem(name); } catch { return null; } },
  set: (name, value) => { try { value == null ? globalThis[store].removeItem(name) : globalThis[store].setItem(name, value); } catch { /* then it lasts as long as the page */ } },
});

export const session = stored('sessionStorage');
const lasting = stored('localStorage');

/** Whether a text may be a token: what cannot stand in a header is none. */
export const isToken = text => /^[\x21-\x7e]+$/.test(text);

/** Lets a button go through system, light and dark. */
export function themes(button) {
  const paint = theme => {
    set(document.documentElement, 'data-theme', theme);
    say(button, `Theme: ${theme ?? 'system'}`);
  };
  button.addEventListener('click', () => {
    const order = [null, 'light', 'dark'];
    const next = order[(order.indexOf(document.documentElement.dataset.theme ?? null) + 1) % order.length];
    lasting.set(THEME, next);
    paint(next);
  });
  const kept = lasting.get(THEME);
  paint(kept === 'light' || kept === 'dark' ? kept : null);
}
