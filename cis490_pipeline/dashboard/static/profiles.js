// Attack profiles: median and quartiles of episodes from a phase on.
import {html, nothing, svg} from './markup.js';
import {awaiting} from './awaiting.js';
import {fixed, short} from './words.js';

const W = 200, H = 60, MAX_CURVES = 24;

function points(event) {
  const start = event.t_start_s ?? 0, step = event.step_s ?? 1;
  return event.curve.map((v, i) => (Array.isArray(v) ? v : [start + i * step, v]));
}

function plot(event) {
  const line = points(event);
  const values = [line.map((p) => p[1]), event.low ?? [], event.high ?? []].flat().filter((v) => v != null);
  if (!values.length) return html`<p class=note>no value</p>`;
  const low = Math.min(0, ...values), high = Math.max(...values, low + 1e-9);
  const t0 = line[0][0], t1 = Math.max(line.at(-1)[0], t0 + 1e-9);
  const x = (t) => ((t - t0) / (t1 - t0)) * W;
  const y = (v) => H - 2 - ((v - low) / (high - low)) * (H - 4);
  const at = (column) => line.map(([t], i) => [t, column[i]]).filter((p) => p[1] != null);
  const draw = (list) => list.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  const band = event.low && event.high ? [...at(event.low), ...at(event.high).reverse()] : [];
  const zero = t0 < 0 && t1 > 0 ? svg`<line class=onset x1=${x(0)} x2=${x(0)} y1=0 y2=${H}/>` : nothing;
  const known = line.filter((p) => p[1] != null), medians = known.map((p) => p[1]);
  return html`<svg class=curve viewBox="0 0 ${W} ${H}" preserveAspectRatio="none" role=img
    aria-label="${event.name} ${event.channel ?? ''}: median from ${short(Math.min(...medians))} to ${short(Math.max(...medians))}, last ${short(medians.at(-1))}">
    <polygon class=band points=${draw(band)}/>${zero}<polyline class=median points=${draw(known)}/></svg>
    <div class=ends><span>${fixed(t0, 0)} s</span><span>${fixed(t1, 0)} s</span></div>`;
}

export function profiles(store, ui) {
  const events = [...store.curves.values()];
  const channels = [...new Set(events.map((e) => e.channel ?? ''))].sort();
  const channel = channels.includes(ui.channel) ? ui.channel : channels[0];
  const shown = events.filter((e) => (e.channel ?? '') === channel).sort((a, b) => (a.name < b.name ? -1 : 1));
  return html`<header><h2 id=h-profiles>Attack profiles</h2><span class=sub>median and quartiles of aligned episodes</span>
    ${channels.length > 1 ? html`<label class=right>channel <select @change=${(e) => ui.choose('channel', channels[e.target.selectedIndex])}>
      ${channels.map((c) => html`<option .selected=${c === channel}>${c || 'no channel'}</option>`)}</select></label>` : nothing}</header>
  ${!events.length ? awaiting('trajectories of attack profiles', 'attack_profile') : html`<div class=curves>
    ${shown.slice(0, MAX_CURVES).map((e) => html`<figure><figcaption><b>${e.name}</b>
      <small>${typeof e.shape === 'string' ? e.shape : ''}${e.n_episodes == null ? '' : `, n = ${e.n_episodes}`}${e.aligned_at ? `, 0 s = ${e.aligned_at}` : ''}${e.unit ? `, ${e.unit}` : ''}</small></figcaption>${plot(e)}</figure>`)}</div>
    ${shown.length > MAX_CURVES ? html`<p class=note>${shown.length - MAX_CURVES} more are not shown.</p>` : nothing}`}`;
}
