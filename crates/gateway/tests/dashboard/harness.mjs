// A browser, a simulated gateway, and a server that puts states of our choice behind the gateway's own page.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const BINARY = process.env.TIDEGATE ?? fileURLToPath(new URL('../../../../target/debug/tidegate', import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

export const browser = () => chromium.launch({ executablePath: CHROMIUM, args: ARGS });

/** `tidegate serve --sim` with settings of its own, unless TIDEGATE_URL names one that runs; gives its address. */
export async function gateway(settings = '', listen = '127.0.0.1:0') {
  if (process.env.TIDEGATE_URL) return { url: process.env.TIDEGATE_URL, stop: async () => {} };
  const home = mkdtempSync(join(tmpdir(), 'tidegate-dashboard-'));
  writeFileSync(join(home, 'tidegate.toml'), settings);
  const child = spawn(BINARY, ['serve', '--sim', '--listen', listen], { cwd: home, env: { PATH: process.env.PATH, HOME: home }, stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(([code]) => { throw new Error(`tidegate ended with ${code} before it served`); }),
  ]);
  return { url: line.trim(), stop: async () => { const ended = once(child, 'exit'); child.kill('SIGTERM'); await ended; } };
}

/** The page of the gateway at `origin` over states that a test shows. */
export async function stage(origin) {
  const watchers = new Set();
  const asked = [];
  let shown;
  let token;
  let away = false;
  const tell = watcher => watcher.write(`event: state\ndata: ${JSON.stringify(shown)}\n\n`);
  const server = http.createServer(async (request, answer) => {
    asked.push({ url: request.url, authorization: request.headers.authorization });
    if (away) return request.socket.destroy();
    if (new URL(request.url, origin).pathname === '/api/events') {
      if (token && request.headers.authorization !== `Bearer ${token}`) return answer.writeHead(401).end('{}');
      answer.writeHead(200, { 'content-type': 'text/event-stream' });
      watchers.add(answer);
      answer.on('close', () => watchers.delete(answer));
      return tell(answer);
    }
    const file = await fetch(origin + request.url);
    const headers = [...file.headers].filter(([name]) => !['connection', 'content-length', 'transfer-encoding'].includes(name));
    answer.writeHead(file.status, Object.fromEntries(headers)).end(Buffer.from(await file.arrayBuffer()));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    asked,
    /** What watchers see from now on. */
    show(state) {
      shown = state;
      for (const watcher of watchers) tell(watcher);
    },
    /** Whom it answers. */
    wants(wanted) { token = wanted; },
    /** Breaks every connection and takes no other. */
    leave() {
      away = true;
      server.closeAllConnections();
    },
    comeBack() { away = false; },
    watchers: () => watchers.size,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A page that remembers what it complained about. */
export async function open(chrome, url, options = {}) {
  const context = await chrome.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', timezoneId: 'UTC', ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  page.complaints = [];
  page.on('pageerror', error => page.complaints.push(error.message));
  page.on('console', message => message.type() === 'error' && page.complaints.push(message.text()));
  await page.goto(url);
  return page;
}

/** Until the figures are there. */
export const figures = page => page.waitForSelector('#figures:not([hidden])');

/** Resolves when the page shows a state told under this uptime, which only serves to know it by. */
export const shows = (page, words) => page.waitForFunction(wanted => document.getElementById('about').textContent.includes(wanted), words);
