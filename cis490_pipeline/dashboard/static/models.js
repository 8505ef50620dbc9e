// Scores with intervals, each architecture's realistic model above its oracle.
import {html, joined, nothing, svg} from './markup.js';
import {awaiting} from './awaiting.js';
import {count, interval, parts, score} from './words.js';

const pct = (v) => Math.min(1, Math.max(0, v)) * 100 + '%';

function bar(event, variant) {
  const {accuracy: value, ci_low: low, ci_high: high} = event;
  const whisker = low == null || high == null ? nothing : svg`
    <line class=wh x1=${pct(low)} x2=${pct(high)} y1=8 y2="8"/>
    <line class=wh x1=${pct(low)} x2=${pct(low)} y1=4 y2="12"/>
    <line class=wh x1=${pct(high)} x2=${pct(high)} y1=4 y2="12"/>`;
  return html`<svg class=bar height=16 aria-hidden=true>
    ${TICKS.map((x) => svg`<line class=grid x1=${x + '%'} x2=${x + '%'} y1=0 y2="16"/>`)}
    <rect class=${variant ?? 'realistic'} y="2.5" height=11 rx=2 width=${pct(value)}/>${whisker}</svg>`;
}

function line(name, variant, event, ui) {
  const label = variant ?? name;
  if (!event) return html`<tr class=none><td>${label}</td><td colspan=2>awaiting ${label}</td></tr>`;
  const pick = html`<button class=pick aria-pressed=${ui.model === event.model} @click=${() => ui.choose('model', event.model)}
    title="Show ${event.model} in the other panels">${label}</button>`;
  if (event.type === 'model_failure') {
    return html`<tr class=failed><td>${pick}</td><td colspan=2><strong>failed:</strong> ${event.why}</td></tr>`;
  }
  return html`<tr class=${ui.model === event.model ? 'chosen' : ''}><td>${pick}</td><td>${bar(event, variant)}</td>
    <td class=num><b>${score(event.accuracy)}</b> <small>${interval(event.ci_low, event.ci_high)}</small></td></tr>`;
}

function untested(events) {
  const hosts = new Map();
  for (const event of events) {
    for (const [host, profiles] of Object.entries(event.untested_profiles ?? {})) {
      if (profiles.length) hosts.set(host, profiles);
    }
  }
  if (!hosts.size) return nothing;
  return html`<p class=note>Not tested: ${joined([...hosts].map(([host, profiles]) => [joined(profiles, ', '), ' on ', host]), '; ')}.</p>`;
}

const TICKS = [0, 20, 40, 60, 80, 100];

export function models(store, ui) {
  const events = [...store.metrics.values()].filter((event) => (event.split ?? null) === ui.split);
  const rows = new Map();
  for (const event of events) {
    const {architecture, variant} = parts(event.model, event.variant);
    if (!rows.has(architecture)) rows.set(architecture, {});
    rows.get(architecture)[variant ?? 'only'] = event;
  }
  const best = (row) => Math.max(...['realistic', 'only', 'network'].map((v) => row[v]?.accuracy ?? -1), (row.oracle?.accuracy ?? -1) - 2);
  const order = [...rows].sort((a, b) => best(b[1]) - best(a[1]) || (a[0] < b[0] ? -1 : 1));
  const sizes = [...new Set(events.map((event) => event.n_windows).filter((n) => n != null))];
  const episodes = [...new Set(events.map((event) => event.n_episodes).filter((n) => n != null))];
  const n = (found, what) => (found.length === 1 ? `${count(found[0])} ${what}` : found.length ? `${count(Math.min(...found))} to ${count(Math.max(...found))} ${what}` : '');
  const sizesText = [n(episodes, 'episodes'), n(sizes, 'windows')].filter(Boolean).join(', ');
  return html`<header><h2 id=h-models>Models: macro F1${ui.split ? `, held out by ${ui.split}` : ''}</h2>
    <span class=key><i class="sw realistic"></i>realistic (29 channels)</span>
    <span class=key><i class="sw oracle"></i>oracle (46)</span>
    ${order.some(([, row]) => row.network) ? html`<span class=key><i class="sw network"></i>network (10)</span>` : nothing}
    <span class=sub>whisker = 95 % interval${sizesText ? `, n = ${sizesText}` : ''}</span></header>
  ${!order.length ? awaiting('model scores', 'model_metric') : html`
  <div class=wide tabindex=0 role=region aria-label="Scores of the models"><table class=scores>
    <caption class=hidden>Macro F1 of each model with its 95 % interval</caption>
    <thead class=hidden><tr><th>model</th><th>bar</th><th>macro F1 and interval</th></tr></thead>
    ${order.map(([name, row]) => html`<tbody><tr class=arch><th colspan=3 scope=rowgroup>${name}</th></tr>
      ${row.only ? line(name, null, row.only, ui) : nothing}
      ${row.realistic || row.oracle ? [line(name, 'realistic', row.realistic, ui), line(name, 'oracle', row.oracle, ui)] : nothing}
      ${row.network ? line(name, 'network', row.network, ui) : nothing}</tbody>`)}
    <tbody aria-hidden=true><tr><td></td><td><svg class="bar axis" height=16>${TICKS.map((x) => svg`<text
      x=${x + '%'} y=12 text-anchor=${x === 0 ? 'start' : x === 100 ? 'end' : 'middle'}>${x / 100}</text>`)}</svg></td><td></td></tr></tbody>
  </table></div>${untested(events)}`}`;
}
