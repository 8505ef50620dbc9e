// Labels and number formats of the page.
export const PHASES = ['clean', 'armed', 'infecting', 'infected_running', 'dormant'];
const LABELS = {infected_running: 'infected, running'};
const SHORT = {infecting: 'infect.', infected_running: 'running'};
export const phaseLabel = (phase) => LABELS[phase] ?? phase;
export const phaseShort = (phase) => SHORT[phase] ?? phase;
/** CSS class of a phase; no name from an event gets into it. */
export const phaseClass = (phase) => 'p-' + (PHASES.includes(phase) ? phase : 'other');
export const INFECTED = new Set(['infecting', 'infected_running', 'dormant']);

const given = (v) => typeof v === 'number' && Number.isFinite(v);
export const fixed = (v, digits) => (given(v) ? v.toFixed(digits) : '–');
export const score = (v) => fixed(v, 3);
export const interval = (low, high) => (given(low) && given(high) ? `[${score(low)}, ${score(high)}]` : 'no interval');
export const percent = (v) => (given(v) ? Math.round(v * 100) + '%' : '–');
export function short(v) {
  if (!given(v)) return '–';
  const size = Math.abs(v);
  for (const [at, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
    if (size >= at) return (v / at).toFixed(1) + unit;
  }
  return size >= 10 || v === Math.round(v) ? v.toFixed(0) : v.toFixed(2);
}
export const count = (v) => (given(v) ? v.toLocaleString('en') : '–');
export function ago(ms, now) {
  if (!given(ms)) return 'never';
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 2) return 'now';
  if (s < 120) return s + ' s ago';
  return s < 7200 ? Math.round(s / 60) + ' min ago' : Math.round(s / 3600) + ' h ago';
}
/** Architecture and variant of a model, by event or name. */
export function parts(model, variant) {
  const found = /^(.+)_(realistic|oracle|network)$/.exec(model);
  return {
    architecture: found ? found[1] : model,
    variant: ['realistic', 'oracle', 'network'].includes(variant) ? variant : found ? found[2] : null,
  };
}
/** Channels that only the lab records; devices have the others. */
export const isLabOnly = (channel) => /^(proc|qmp)\./.test(channel);
