// Embedding of windows on a canvas; each phase has a colour and shape.
import {html} from './markup.js';
import {awaiting} from './awaiting.js';
import {count, PHASES, phaseLabel} from './words.js';

const SHAPES = {clean: '●', armed: '▲', infecting: '■', infected_running: '◆', dormant: '▼', other: '✕'};
const kind = (phase) => (PHASES.includes(phase) ? phase : 'other');

export function chosenPoints(store, ui) {
  const all = [...store.points.values()];
  const models = [...new Set(all.map((e) => e.model ?? null))];
  const model = models.includes(ui.model) ? ui.model : models.at(-1) ?? null;
  return {model, points: all.filter((e) => (e.model ?? null) === model)};
}

export function embedding(store, ui) {
  const {model, points} = chosenPoints(store, ui);
  const counts = new Map();
  for (const e of points) counts.set(kind(e.phase), (counts.get(kind(e.phase)) ?? 0) + 1);
  const summary = [...counts].map(([phase, n]) => `${phaseLabel(phase)} ${n}`).join(', ');
  return html`<header><h2 id=h-embedding>Embedding</h2><span class=sub>${model ?? 'windows'}, ${count(points.length)} windows by true phase</span></header>
  ${!points.length ? awaiting('an embedding', 'embedding') : html`<canvas id=points role=img aria-label="Windows by true phase: ${summary}"></canvas>
    <p class=legend>${[...PHASES, 'other'].filter((p) => counts.has(p)).map((p) => html`<span class=key><b class="p-${p}">${SHAPES[p]}</b> ${phaseLabel(p)}</span>`)}</p>`}`;
}

export function drawPoints(store, ui, colour) {
  const canvas = document.getElementById('points');
  if (!canvas) return;
  const {points} = chosenPoints(store, ui);
  const ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  canvas.width = w * ratio;
  canvas.height = h * ratio;
  const c = canvas.getContext('2d');
  c.scale(ratio, ratio);
  c.globalAlpha = 0.75;
  const range = (name) => points.reduce(([a, b], e) => [Math.min(a, e[name]), Math.max(b, e[name])], [Infinity, -Infinity]);
  const [x0, x1] = range('x'), [y0, y1] = range('y');
  const at = (v, a, b, size) => 6 + (b > a ? (v - a) / (b - a) : 0.5) * (size - 12);
  const s = 3;
  const paths = {
    clean: (x, y) => c.arc(x, y, s * 0.8, 0, 7),
    armed: (x, y) => { c.moveTo(x, y - s); c.lineTo(x + s, y + s); c.lineTo(x - s, y + s); },
    infecting: (x, y) => c.rect(x - s * 0.8, y - s * 0.8, s * 1.6, s * 1.6),
    infected_running: (x, y) => { c.moveTo(x, y - s); c.lineTo(x + s, y); c.lineTo(x, y + s); c.lineTo(x - s, y); },
    dormant: (x, y) => { c.moveTo(x, y + s); c.lineTo(x + s, y - s); c.lineTo(x - s, y - s); },
    other: (x, y) => { c.rect(x - s, y - 0.5, 2 * s, 1); c.rect(x - 0.5, y - s, 1, 2 * s); },
  };
  for (const phase of Object.keys(paths)) {
    c.fillStyle = colour('--' + phase.replace('_', '-'));
    for (const e of points) {
      if (kind(e.phase) !== phase) continue;
      c.beginPath();
      paths[phase](at(e.x, x0, x1, w), h - at(e.y, y0, y1, h));
      c.closePath();
      c.fill();
    }
  }
}
