// Tables: confusion, profile × host, inference, feeds.
import {html, nothing, svg} from './markup.js';
import {awaiting, GIVES} from './awaiting.js';
import {ago, count, fixed, interval, parts, percent, phaseLabel, phaseShort, short} from './words.js';

const step = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));

export function confusion(store, ui) {
  const event = store.of(store.confusion, ui.split, ui.model);
  const head = html`<header><h2 id=h-confusion>Confusion</h2><span class=sub>${ui.model ?? '–'}, share of each true phase</span></header>`;
  if (!event) return html`${head}${awaiting('a confusion matrix', 'confusion')}`;
  const total = (row) => row.reduce((a, b) => a + b, 0);
  return html`${head}<div class=wide tabindex=0 role=region aria-label="Confusion matrix"><table class=heat>
    <caption class=hidden>Windows of ${ui.model} by true and predicted phase</caption>
    <thead><tr><th>true ↓ / predicted →</th>${event.labels.map((l) => html`<th scope=col title=${phaseLabel(l)}>${phaseShort(l)}</th>`)}<th scope=col>recall</th></tr></thead>
    <tbody>${event.labels.map((label, i) => {
      const n = total(event.counts[i]);
      return html`<tr><th scope=row>${phaseLabel(label)}</th>${event.counts[i].map((c, j) => html`<td
        class="${n ? 'b' + step(c / n, 8) : 'empty'} ${i === j ? 'diagonal' : ''}">${n ? percent(c / n) : '–'}<small>${count(c)}</small></td>`)}
        <td class=empty>${n ? fixed(event.counts[i][i] / n, 2) : '–'}<small>n ${count(n)}</small></td></tr>`;
    })}</tbody></table></div>`;
}

const MAX_ROWS = 24, MAX_COLUMNS = 12;

export function groups(store, ui) {
  const cells = [...store.groups.values()].filter((e) => (e.split ?? null) === ui.split && e.model === ui.model);
  const head = html`<header><h2 id=h-groups>Profile × host</h2><span class=sub>${ui.model ?? '–'}, macro F1</span></header>`;
  if (!cells.length) return html`${head}${awaiting('profile × host scores', 'group_metric')}`;
  const by = new Map(cells.map((e) => [JSON.stringify([e.profile, e.host_id]), e]));
  const untested = store.of(store.metrics, ui.split, ui.model)?.untested_profiles ?? {};
  const all = (name) => [...new Set(cells.map((e) => e[name]))].sort();
  const profiles = all('profile'), hosts = all('host_id');
  const over = Math.max(0, profiles.length - MAX_ROWS) + Math.max(0, hosts.length - MAX_COLUMNS);
  const cell = (profile, host) => {
    const e = by.get(JSON.stringify([profile, host]));
    const missing = Object.hasOwn(untested, host) && untested[host].includes(profile);
    if (e?.macro_f1 == null) {
      const why = e?.why ?? (missing ? 'untested' : 'no score');
      return html`<td class=untested title=${why}>${e?.n_windows ? 'n/a' : e || missing ? 'untested' : '–'}</td>`;
    }
    return html`<td class=${'f' + step(e.macro_f1, 10)} title=${interval(e.ci_low, e.ci_high)}>${fixed(e.macro_f1, 2)}<small>n ${count(e.n_windows)}</small></td>`;
  };
  return html`${head}<div class=wide tabindex=0 role=region aria-label="Scores by profile and host"><table class=heat>
    <caption class=hidden>Macro F1 of ${ui.model} by attack profile and host</caption>
    <thead><tr><td></td>${hosts.slice(0, MAX_COLUMNS).map((host) => html`<th scope=col>${host}</th>`)}</tr></thead>
    <tbody>${profiles.slice(0, MAX_ROWS).map((profile) => html`<tr><th scope=row>${profile}</th>${hosts.slice(0, MAX_COLUMNS).map((host) => cell(profile, host))}</tr>`)}</tbody>
  </table></div>${over ? html`<p class=note>${over} more profiles or hosts are not shown.</p>` : nothing}`;
}

export function inference(store) {
  const events = [...store.perf.values()];
  const devices = [...new Set(events.map((e) => e.device).filter(Boolean))];
  const head = html`<header><h2 id=h-inference>Inference</h2><span class=sub>one window at a time${devices.length === 1 ? `, ${devices[0]}` : ''}</span></header>`;
  if (!events.length) return html`${head}${awaiting('inference timings', 'model_perf')}`;
  const p50 = (e) => e.p50_us ?? e.latency_us ?? 0, p99 = (e) => e.p99_us ?? p50(e);
  const all = events.flatMap((e) => [p50(e), p99(e)].filter(Boolean));
  const low = Math.min(...all, 100), high = Math.max(...all, 1e4);
  const x = (us) => Math.log(Math.max(us, low) / low) / Math.log(high / low) * 96 + 1;
  return html`${head}<div class=wide tabindex=0 role=region aria-label="Inference timings"><table class=list>
    <caption class=hidden>Time of one window by model</caption>
    <thead><tr><th scope=col>model</th><th scope=col class=extra>p50 → p99, log scale</th><th scope=col class=num>p50 ms</th><th scope=col class=num>p95</th><th scope=col class=num>p99</th><th scope=col class=num>windows/s</th></tr></thead>
    <tbody>${events.sort((a, b) => p50(a) - p50(b)).map((e) => html`<tr><th scope=row>${e.model}${devices.length > 1 ? html` <small>${e.device}</small>` : nothing}</th>
      <td class=extra><svg class=bar height=14 aria-hidden=true><line class=grid x1=0 x2="100%" y1=7 y2="7"/>
        <rect class=${parts(e.model, e.variant).variant ?? 'realistic'} x=${x(p50(e)) + '%'} width=${Math.max(2, x(p99(e)) - x(p50(e))) + '%'} y="3.5" height=7 rx="2"/></svg></td>
      <td class=num>${e.why ?? fixed(p50(e) / 1000, 2)}</td><td class=num>${fixed(e.p95_us / 1000, 2)}</td>
      <td class=num>${fixed(e.p99_us / 1000, 2)}</td><td class=num>${short(e.windows_per_s)}</td></tr>`)}</tbody></table></div>`;
}

export function feeds(status, ui) {
  const known = status?.feeds ?? {};
  const left = Object.values(known).reduce((sum, feed) => sum + feed.left_out, 0);
  return html`<header><h2 id=h-feeds>Feeds</h2><span class=sub>events received by type; a power cut may lose the last second</span></header>
  <div class=wide tabindex=0 role=region aria-label="Events by type"><table class=list>
    <caption class=hidden>Events by type</caption>
    <thead><tr><th scope=col>event type</th><th scope=col class=extra>content</th><th scope=col class=num>received</th><th scope=col>last</th></tr></thead>
    <tbody>${Object.entries(GIVES).map(([type, [gives, command]]) => {
      const feed = known[type];
      return html`<tr><th scope=row><i class="dot ${feed?.received ? 'on' : 'off'}"></i><code>${type}</code></th><td class=extra>${gives}</td>
        <td class=num>${count(feed?.received ?? 0)}${feed?.left_out ? html`<small class=bad> ${count(feed.left_out)} left out</small>` : nothing}</td>
        <td>${feed?.received ? ago(feed.last_ms, ui.now()) : html`awaiting <code>${command}</code>`}</td></tr>`;
    })}</tbody></table></div>
  ${left ? html`<p class=bad>${count(left)} events were dropped: the dashboard keeps a limited number of each type.</p>` : nothing}
  ${status?.fault ? html`<p class=bad>${status.fault}</p>` : nothing}`;
}
