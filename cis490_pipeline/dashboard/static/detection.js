// Strips, true phases and detection delays of an episode.
import {INFECTED} from './words.js';

const DEFAULT_STEP_S = 5;

/** Windows in order, each with the interval it adds. */
export function strip(windows) {
  const list = [...windows.values()].sort((a, b) => a.window_idx - b.window_idx);
  const end = (w) => w.t_end_s ?? (w.window_idx + 2) * DEFAULT_STEP_S;
  let step = Infinity;
  for (let i = 1; i < list.length; i += 1) {
    const gap = end(list[i]) - end(list[i - 1]);
    if (gap > 0) step = Math.min(step, gap);
  }
  if (!Number.isFinite(step)) step = DEFAULT_STEP_S;
  return list.map((window) => ({window, end: end(window), start: end(window) - step}));
}

/** True phases: of the episode event, else from phase events or windows. */
export function truth(episode) {
  if (episode.about.phases?.length) return episode.about.phases;
  // Phase events of a live device are predictions, not truth.
  const labels = episode.about.origin === 'live' ? [] : [...episode.phases.values()].filter((e) => e.t_s != null).sort((a, b) => a.t_s - b.t_s);
  if (labels.length) {
    return labels.map((e, i) => ({phase: e.phase, start_s: e.t_s, end_s: labels[i + 1]?.t_s ?? Math.max(episode.now ?? e.t_s, e.t_s)}));
  }
  const [windows] = episode.models.values();
  if (!windows) return [];
  return strip(windows).filter((s) => s.window.actual != null)
    .map((s) => ({phase: s.window.actual, start_s: s.start, end_s: s.end}));
}

export function infectionStart(episode) {
  if (episode.about.infection_s != null) return episode.about.infection_s;
  return truth(episode).find((span) => INFECTED.has(span.phase))?.start_s ?? null;
}

/** Delay from infection to alarm; an alarm that was already on is no detection. */
export function detection(strips, infection, ended) {
  const byAlarm = strips.some((s) => s.window.alarm != null);
  const isOn = (s) => (byAlarm ? s.window.alarm === true : INFECTED.has(s.window.predicted));
  let before = false, falseAlarms = 0, wasOn = false, delay = null;
  for (const s of strips) {
    const now = isOn(s);
    if (infection == null || s.end < infection) {
      if (now && !before) falseAlarms += 1;
      wasOn = now;
    } else if (now && !before && delay === null) delay = s.end - infection;
    before = now;
  }
  let text = '–';
  if (delay !== null) text = `+${delay.toFixed(1)} s`;
  else if (infection != null && wasOn) text = 'on before';
  else if (infection != null && ended) text = 'missed';
  return {text, falseAlarms, byAlarm};
}
