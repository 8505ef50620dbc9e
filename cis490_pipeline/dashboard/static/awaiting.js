import {html} from './markup.js';

export const GIVES = {
  model_metric: ['scores with 95 % intervals', 'cis490 produce metrics'],
  model_failure: ['models without a score, and why', 'cis490 produce metrics'],
  confusion: ['confusion matrices', 'cis490 produce metrics'],
  group_metric: ['profile × host scores', 'cis490 produce metrics'],
  attack_profile: ['trajectories of attack profiles', 'cis490 produce profiles'],
  model_perf: ['latency and throughput', 'cis490 produce perf'],
  episode: ['true phases of an episode', 'cis490 produce replay'],
  phase: ['phase changes', 'cis490 produce replay'],
  telemetry: ['readings of the channels', 'cis490 produce replay'],
  prediction: ['predictions by window', 'cis490 produce replay'],
  embedding: ['embeddings of windows', 'cis490 produce replay'],
  source_state: ['late or dead sources', 'cis490 live'],
};

export const awaiting = (what, type) => html`<div class=await>
  <strong>Awaiting ${what}</strong>
  <span>no <code>${type}</code> event has arrived yet</span>
  <code>${GIVES[type][1]}</code></div>`;
