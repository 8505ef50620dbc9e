// One small plot for each channel, over the true phases.
/* global uPlot */
import {truth} from './detection.js';
import {shown} from './markup.js';
import {chosenEpisode, extent, FEW} from './replay.js';
import {isLabOnly, phaseClass, short} from './words.js';

const HEIGHT = 54;

export class Channels {
  #plots = new Map();
  #spans = [];
  #range = [0, 1];
  #episode = null;
  #width = 0;

  constructor(root, colour) {
    this.root = root;
    this.colour = colour;
    new ResizeObserver(() => this.#resize()).observe(root);
  }

  /** Discard all plots: another episode or other colours. */
  clear() {
    for (const plot of this.#plots.values()) plot.u.destroy();
    this.#plots.clear();
    this.root.replaceChildren();
  }

  update(store, ui) {
    const episode = chosenEpisode(store, ui);
    if (!episode) return this.clear();
    if (episode.id !== this.#episode) this.clear();
    this.#episode = episode.id;
    this.#spans = truth(episode);
    this.#range = extent(episode);
    const {t, values} = episode.telemetry;
    // Channels that deployed devices have come first.
    const names = [...values.keys()].sort((a, b) => isLabOnly(a) - isLabOnly(b)).slice(0, ui.all ? undefined : FEW);
    for (const [name, plot] of this.#plots) {
      if (names.includes(name)) continue;
      plot.u.destroy();
      plot.figure.remove();
      this.#plots.delete(name);
    }
    for (const name of names) {
      if (!this.#plots.has(name)) this.#plots.set(name, this.#make(name));
    }
    if (!this.#width) this.#resize();
    const xs = Float64Array.from(t);
    for (const name of names) {
      const {u, value, figure} = this.#plots.get(name);
      const column = values.get(name);
      const last = short(column.findLast((v) => v != null));
      if (value.textContent !== last) {
        value.textContent = last;
        figure.querySelector('.plot').setAttribute('aria-label', `${shown(name)}, last ${last}`);
      }
      u.setData([xs, column]);
    }
  }

  #make(name) {
    const figure = document.createElement('figure');
    const caption = figure.appendChild(document.createElement('figcaption'));
    const label = caption.appendChild(document.createElement('span'));
    label.textContent = label.title = shown(name);
    const value = caption.appendChild(document.createElement('b'));
    const holder = figure.appendChild(document.createElement('div'));
    holder.className = 'plot';
    holder.setAttribute('role', 'img');
    if (isLabOnly(name)) figure.className = 'lab-only';
    this.root.append(figure);
    const u = new uPlot({
      width: this.#width || 150,
      height: HEIGHT,
      padding: [2, 0, 2, 0],
      legend: {show: false},
      cursor: {show: false},
      select: {show: false},
      axes: [{show: false}, {show: false}],
      scales: {x: {time: false, range: () => this.#range}},
      series: [{}, {stroke: this.colour(isLabOnly(name) ? '--oracle' : '--realistic'), width: 1.25, points: {show: false}}],
      hooks: {drawClear: [(u) => this.#ground(u)]},
    }, [[], []], holder);
    return {u, value, figure};
  }

  #ground(u) {
    const {ctx, bbox} = u;
    ctx.save();
    ctx.globalAlpha = 0.2;
    for (const span of this.#spans) {
      const a = u.valToPos(span.start_s, 'x', true), b = u.valToPos(Math.min(span.end_s, this.#range[1]), 'x', true);
      ctx.fillStyle = this.colour('--' + phaseClass(span.phase).slice(2).replace('_', '-'));
      ctx.fillRect(a, bbox.top, b - a, bbox.height);
    }
    ctx.restore();
  }

  #resize() {
    const first = this.root.querySelector('.plot');
    const width = first ? Math.floor(first.clientWidth) : 0;
    if (!width || width === this.#width) return;
    this.#width = width;
    for (const {u} of this.#plots.values()) u.setSize({width, height: HEIGHT});
  }
}
