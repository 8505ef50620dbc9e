// Connects the stream to the panels, each redrawn only when its data changed.
import {html, nothing, render} from './markup.js';
import {Channels} from './channels.js';
import {drawPoints, embedding} from './embedding.js';
import {models} from './models.js';
import {profiles} from './profiles.js';
import {replay} from './replay.js';
import {Store} from './store.js';
import {confusion, feeds, groups, inference} from './tables.js';
import {listen} from './tabs.js';
import {count} from './words.js';

const DRAW_MS = 200;
const THEMES = ['system', 'light', 'dark'];
let store = new Store(), next = null;
let status = null, connection = 'connecting', skew = 0;

const ui = {
  model: null, split: null, episode: null, channel: null, all: false, theme: 'system',
  chosen: new Set(),
  now: () => Date.now() + skew,
  choose(name, value) {
    ui[name] = value;
    ui.chosen.add(name);
    store.touch('top', 'models', 'confusion', 'groups', 'replay', 'profiles', 'embedding');
    draw();
  },
};

const probe = document.body.appendChild(document.createElement('span'));
probe.hidden = true;
const colours = new Map();
/** Resolves a colour of the style sheet for canvases. */
function colour(name) {
  if (!colours.has(name)) {
    probe.style.color = `var(${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}
function recolour() {
  colours.clear();
  channels.clear();
  store.touch('replay', 'embedding');
  draw();
}
function theme(next) {
  ui.theme = next;
  document.documentElement.dataset.theme = next;
  localStorage.setItem('theme', next);
  store.touch('top');
  recolour();
}

/** Default choices follow the events that arrive. */
function follow() {
  const splits = store.splits();
  if (!ui.chosen.has('split') || !splits.includes(ui.split)) ui.split = store.split;
  const known = [...store.metrics.values()].filter((e) => (e.split ?? null) === ui.split);
  const of = (map) => [...map.values()].map((e) => e.model);
  const names = new Set([...known.map((e) => e.model), ...of(store.confusion), ...of(store.groups)]);
  for (const episode of store.episodes.values()) for (const name of episode.models.keys()) names.add(name);
  if (!ui.chosen.has('model') || !names.has(ui.model)) {
    const best = known.filter((e) => e.accuracy != null && !/oracle|network/.test(e.variant ?? e.model)).sort((a, b) => b.accuracy - a.accuracy)[0];
    ui.model = best?.model ?? [...names].sort()[0] ?? null;
  }
  return {splits, names: [...names].sort()};
}

const CONNECTION = {out: 'logged out', live: 'live', connecting: 'connecting', reconnecting: 'not connected, trying again', silent: 'silent, reconnecting'};

function top({splits, names}) {
  const pick = (what, values, value, text = (v) => v) => html`<label class=chip>${what} <select @change=${(e) => ui.choose(what, values[e.target.selectedIndex])}>
    ${values.map((v) => html`<option .selected=${v === value}>${text(v)}</option>`)}</select></label>`;
  return html`<h1>Live model dashboard</h1>
    <span class=chip role=status><i class="dot ${connection === 'live' ? 'on' : 'off'}"></i>${CONNECTION[connection]}</span>
    ${splits.length > 1 ? pick('split', splits, ui.split, (v) => v ?? 'none') : html`<span class=chip>split <b>${ui.split ?? '–'}</b></span>`}
    <span class=chip>models <b>${names.length}</b></span>
    <span class=chip>events <b>${count(status?.events ?? 0)}</b></span>
    <span class=right></span>
    ${names.length ? pick('model', names, ui.model) : nothing}
    <button @click=${() => theme(THEMES[(THEMES.indexOf(ui.theme) + 1) % 3])}>colours: ${ui.theme}</button>`;
}

const channels = new Channels(plots(), colour);
function plots() {
  const grid = document.createElement('div');
  grid.className = 'plots';
  return grid;
}

let waiting = false, last = 0;
/** Draw soon, once in `DRAW_MS` at most, not while the page is hidden. */
function draw() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => requestAnimationFrame(drawNow), Math.max(0, last + DRAW_MS - performance.now()));
}

function drawNow() {
  waiting = false;
  last = performance.now();
  const dirty = store.dirty;
  store.dirty = new Set();
  const known = follow();
  const views = {models, confusion, groups, profiles, embedding, inference};
  if (dirty.has('top')) render(top(known), document.getElementById('top'));
  for (const [name, view] of Object.entries(views)) {
    if (dirty.has(name)) render(view(store, ui), document.getElementById(name));
  }
  if (dirty.has('feeds')) render(feeds(status, ui), document.getElementById('feeds'));
  if (dirty.has('embedding')) drawPoints(store, ui, colour);
  if (dirty.has('replay')) {
    const section = document.getElementById('replay');
    render(html`${replay(store, ui)}${channels.root}`, section);
    channels.update(store, ui);
  }
  performance.measure('draw', {start: last});
}

const saved = localStorage.getItem('theme');
if (THEMES.includes(saved)) theme(saved);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', recolour);
new ResizeObserver(() => drawPoints(store, ui, colour)).observe(document.getElementById('embedding'));
document.addEventListener('visibilitychange', draw);
// Ages such as "12 s ago" change without events.
setInterval(() => { store.touch('feeds'); draw(); }, 5_000);

const takers = {
  message: (events) => { for (const event of events) (next ?? store).take(event); },
  // The old state is shown until a new one is complete.
  reset: () => { next = new Store(); },
  ready: () => { store = next ?? store; next = null; takers.state('live'); },
  status: (latest) => { status = latest; skew = latest.now_ms - Date.now(); store.touch('feeds', 'top'); },
  state: (word) => {
    if (word === 'out') location.reload();
    connection = word;
    store.touch('top');
  },
};
listen((name, text) => { takers[name](name === 'state' ? text : JSON.parse(text)); draw(); });
draw();
