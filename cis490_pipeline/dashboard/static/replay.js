// Episode replay: true phases, every model's predictions, channels.
import {html, joined, nothing, svg} from './markup.js';
import {awaiting} from './awaiting.js';
import {detection, infectionStart, strip, truth} from './detection.js';
import {fixed, percent, PHASES, phaseClass, phaseLabel} from './words.js';

export const FEW = 12;

export function chosenEpisode(store, ui) {
  return store.episodes.get(ui.episode) ?? [...store.episodes.values()].at(-1);
}

/** Start and end of the time axis, s. */
export function extent(episode) {
  const ends = [episode.about.duration_s ?? 0, episode.now ?? 0, episode.telemetry.t.at(-1) ?? 0];
  for (const windows of episode.models.values()) for (const w of windows.values()) ends.push(w.t_end_s ?? 0);
  for (const span of episode.about.phases ?? []) ends.push(span.end_s);
  return [Math.min(0, episode.telemetry.t[0] ?? 0), Math.max(...ends, 1)];
}

const STATES = {ok: 'ok', late: 'late', dead: 'dead', clock_jump: 'clock jumped', calibrating: 'calibrating', suspect_baseline: 'suspect baseline'};

function details(name, strips) {
  return html`<details><summary>Windows of ${name} as a table</summary><div class="wide tall" tabindex=0 role=region aria-label="Windows of ${name}">
    <table class=list><thead><tr><th scope=col>ends at</th><th scope=col>true</th><th scope=col>predicted</th><th scope=col class=num>confidence</th><th scope=col>alarm</th></tr></thead>
    <tbody>${strips.map((s) => html`<tr><th scope=row>${fixed(s.end, 1)} s</th><td>${s.window.actual == null ? 'unknown' : phaseLabel(s.window.actual)}</td>
      <td>${phaseLabel(s.window.predicted)}</td><td class=num>${percent(s.window.confidence)}</td><td>${s.window.alarm == null ? '–' : s.window.alarm ? 'on' : 'off'}</td></tr>`)}</tbody></table></div></details>`;
}

export function replay(store, ui) {
  const episode = chosenEpisode(store, ui);
  if (!episode) {
    return html`<header><h2 id=h-replay>Episode replay</h2></header>${awaiting('an episode to replay', 'episode')}`;
  }
  const {about} = episode;
  const [t0, t1] = extent(episode);
  const x = (t) => ((Math.min(Math.max(t, t0), t1) - t0) / (t1 - t0)) * 100;
  const infection = infectionStart(episode);
  const ended = about.state === 'ended';
  const marks = svg`
    ${infection == null ? nothing : svg`<line class=onset x1=${x(infection) + '%'} x2=${x(infection) + '%'} y1=0 y2="100%"/>`}
    ${episode.now == null ? nothing : svg`<line class=now x1=${x(episode.now) + '%'} x2=${x(episode.now) + '%'} y1=0 y2="100%"/>`}`;
  const names = [...new Set([...(about.models ?? []), ...episode.models.keys()])].sort((a, b) => (b === ui.model) - (a === ui.model) || (a < b ? -1 : 1)).slice(0, 24);
  const strips = new Map(names.map((name) => [name, strip(episode.models.get(name) ?? new Map())]));
  const spans = truth(episode);
  const row = (name) => {
    const drawn = strips.get(name);
    const result = detection(drawn, infection, ended);
    const last = drawn.at(-1);
    return html`<tr class=${name === ui.model ? 'chosen' : ''}><th scope=row>${name}</th>
      <td><svg class=strip height=16 role=img aria-label="${name}: ${drawn.length} windows${last ? `, last ${phaseLabel(last.window.predicted)}` : ''}">
        ${drawn.map(({window: w, start, end}) => svg`<rect class=${phaseClass(w.predicted)} x=${x(start) + '%'} width=${Math.max(0, x(end) - x(start) - 0.1) + '%'} y=0 height=12
          fill-opacity=${0.45 + 0.55 * (w.confidence ?? 1)}><title>${fixed(end, 1)} s: ${phaseLabel(w.predicted)}, ${percent(w.confidence)}; true ${w.actual == null ? 'unknown' : phaseLabel(w.actual)}</title></rect>
          ${w.alarm ? svg`<rect class=alarm x=${x(start) + '%'} width=${x(end) - x(start) + '%'} y=13 height="3"/>` : nothing}`)}${marks}</svg></td>
      <td class=delay title=${result.byAlarm ? 'from infection to the alarm' : 'from infection to the first infected prediction: no alarm arrived'}><b>${drawn.length ? result.text : 'awaiting'}</b>${result.falseAlarms
        ? html` <small>${result.falseAlarms} ${spans.length ? 'false' : 'raised'}</small>` : nothing}${drawn.length && !result.byAlarm ? html` <small>no alarm</small>` : nothing}</td></tr>`;
  };
  const ticks = Array.from({length: 7}, (_, i) => t0 + ((t1 - t0) * i) / 6);
  const ids = [...store.episodes.keys()];
  const summary = joined([about.profile, about.host_id, about.origin, ended ? 'ended' : about.state, `${fixed(episode.now, 1)} / ${fixed(t1, 0)} s`].filter(Boolean), ' · ');
  const channels = episode.telemetry.values.size, states = [...episode.sources.values()];
  const livePhase = about.origin === 'live' ? [...episode.phases.values()].at(-1) : null;
  return html`<header><h2 id=h-replay>Episode replay</h2>
    <label>episode <select @change=${(e) => ui.choose('episode', ids[e.target.selectedIndex])}>${ids.map((id) => html`<option .selected=${id === episode.id}>${id || 'unnamed'}</option>`)}</select></label>
    <span class=sub>${summary}</span>
    ${livePhase ? html`<span class=chip>predicted phase <b>${phaseLabel(livePhase.phase)}</b></span>` : nothing}
    ${states.map((s) => s.detail ? nothing : html`<span class="chip ${s.state === 'ok' ? '' : 'warn'}" title=${s.why ?? ''}>${s.source}: ${STATES[s.state]}</span>`)}
    ${channels > FEW ? html`<button class=right aria-pressed=${ui.all} @click=${() => ui.choose('all', !ui.all)}>${ui.all ? `${FEW} channels` : `all ${channels} channels`}</button>` : nothing}</header>
  ${states.map((s) => s.detail ? html`<p class=note>${s.source}: ${s.detail} ${s.why ? html`<b class="chip warn">${s.why}</b>` : nothing}</p>` : nothing)}
  <div class=wide tabindex=0 role=region aria-label="Phases and predictions over time"><table class=strips>
    <caption class=hidden>True phases and the predictions of each model, with its detection delay</caption>
    <thead><tr><th scope=col><span class=hidden>model</span></th><th scope=col><span class=hidden>predictions over time</span></th><th scope=col>detection delay</th></tr></thead>
    <tbody><tr><th scope=row><b>true phase</b></th><td><svg class=strip height=18 role=img aria-label="True phases: ${spans.length ? [...new Set(spans.map((s) => phaseLabel(s.phase)))].join(', ') : 'unknown'}">
      ${spans.map((s) => svg`<rect class=${phaseClass(s.phase)} x=${x(s.start_s) + '%'} width=${Math.max(0, x(s.end_s) - x(s.start_s)) + '%'} y=0 height=16><title>${phaseLabel(s.phase)}, ${fixed(s.start_s, 1)} to ${fixed(s.end_s, 1)} s</title></rect>`)}${marks}</svg></td><td><small>${spans.length ? '' : 'truth unknown'}</small></td></tr>
    ${names.map(row)}
    <tr aria-hidden=true><td></td><td><svg class="bar axis" height=16>${ticks.map((t, i) => svg`<text x=${(i / 6) * 100 + '%'} y=12 text-anchor=${i === 0 ? 'start' : i === 6 ? 'end' : 'middle'}>${fixed(t, 0)} s</text>`)}</svg></td><td></td></tr></tbody></table></div>
  <p class=legend>${PHASES.map((p) => html`<span class=key><i class="sw ${phaseClass(p)}"></i>${phaseLabel(p)}</span>`)}
    <span class=key><i class="mark onset"></i>infection starts</span><span class=key><i class="mark now"></i>now</span><span class=key><i class="sw alarm"></i>alarm on</span><span class=key>paler = less confident</span>
    <span class="key lab-only">orange channel = lab only</span></p>
  ${strips.get(ui.model)?.length ? details(ui.model, strips.get(ui.model)) : nothing}
  ${channels ? nothing : awaiting('telemetry of this episode', 'telemetry')}
  ${episode.telemetry.leftOut ? html`<p class=bad>More than 64 channels: the others are not shown.</p>` : nothing}`;
}
