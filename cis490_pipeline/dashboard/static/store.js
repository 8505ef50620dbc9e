// State of the page: the newest event of each key, bounded as on the server.
const LIMITS = {metrics: 512, perf: 256, confusion: 256, groups: 4096, curves: 256, episodes: 16, points: 4000};
export const MAX_WINDOWS = 2000;
export const MAX_READINGS = 2400;
export const MAX_CHANNELS = 64;

const key = (...parts) => JSON.stringify(parts);

// Map, key and panels of event types that need no more handling.
const PLAIN = new Map(Object.entries({
  model_perf: ['perf', (e) => [e.device, e.model], 'inference', 'top'],
  confusion: ['confusion', (e) => [e.split ?? null, e.model], 'confusion'],
  group_metric: ['groups', (e) => [e.split ?? null, e.model, e.profile, e.host_id], 'groups'],
  attack_profile: ['curves', (e) => [e.name, e.channel], 'profiles'],
  embedding: ['points', (e) => (e.window_idx == null ? [e.x, e.y, e.z, e.phase] : [e.model, e.episode_id, e.window_idx]), 'embedding'],
}));

function keep(map, k, value, limit) {
  map.delete(k);
  map.set(k, value);
  if (map.size > limit) map.delete(map.keys().next().value);
}

const newEpisode = (id) => ({
  id, about: {episode_id: id}, now: null, phases: new Map(), sources: new Map(), models: new Map(),
  telemetry: {t: [], values: new Map(), leftOut: 0},
});

export class Store {
  constructor() {
    this.dirty = new Set();
    this.reset();
  }

  reset() {
    this.metrics = new Map();
    this.perf = new Map();
    this.confusion = new Map();
    this.groups = new Map();
    this.curves = new Map();
    this.episodes = new Map();
    this.points = new Map();
    this.split = null;
    this.touch('models', 'confusion', 'groups', 'replay', 'profiles', 'embedding', 'inference', 'feeds', 'top');
  }

  touch(...panels) {
    for (const panel of panels) this.dirty.add(panel);
  }

  take(event) {
    // A Map: an event type "constructor" must not match.
    const plain = PLAIN.get(event.device && 'why' in event ? 'model_perf' : event.type);
    if (plain) {
      const [map, parts, ...panels] = plain;
      keep(this[map], key(...parts(event)), event, LIMITS[map]);
      this.touch(...panels);
    } else this.#takeOther(event);
  }

  #takeOther(event) {
    switch (event.type) {
      case 'model_metric':
      case 'model_failure': return this.#scored(event);
      case 'episode': this.#episode(event.episode_id).about = event; break;
      case 'phase': return keep(this.#episode(event.episode_id ?? '').phases, event.t_s ?? null, event, 256);
      case 'source_state': return keep(this.#episode(event.episode_id).sources, event.source, event, 16);
      case 'prediction': return this.#predicted(event);
      case 'telemetry': return this.#measured(event);
    }
  }

  #scored(event) {
    // A failure invalidates these too.
    if ('why' in event) [this.confusion, this.groups].forEach((map) => map.forEach((e, k) =>
      e.model === event.model && e.split === event.split && map.delete(k)));
    this.split = event.split ?? null;
    keep(this.metrics, key(this.split, event.model), event, LIMITS.metrics);
    this.touch('models', 'confusion', 'groups', 'top');
  }

  #episode(id) {
    let episode = this.episodes.get(id);
    if (!episode) {
      episode = newEpisode(id);
      keep(this.episodes, id, episode, LIMITS.episodes);
    }
    this.touch('replay', 'top');
    return episode;
  }

  #predicted(event) {
    const episode = this.#episode(event.episode_id);
    const model = event.model ?? 'model';
    if (!episode.models.has(model)) keep(episode.models, model, new Map(), 64);
    keep(episode.models.get(model), event.window_idx, event, MAX_WINDOWS);
    if (event.t_end_s != null) episode.now = event.t_end_s;
  }

  #measured(event) {
    const episode = this.#episode(event.episode_id);
    const {t, values} = episode.telemetry;
    for (const name of Object.keys(event.values)) {
      if (values.has(name)) continue;
      if (values.size >= MAX_CHANNELS) episode.telemetry.leftOut += 1;
      else values.set(name, new Array(t.length).fill(null));
    }
    event.t_s.forEach((time, i) => {
      let at = t.length;
      while (at > 0 && t[at - 1] > time) at -= 1;
      // A repeated replay sends times again: replace them.
      const known = at > 0 && t[at - 1] === time;
      if (known) at -= 1;
      else t.splice(at, 0, time);
      for (const [name, column] of values) {
        const value = Object.hasOwn(event.values, name) ? event.values[name][i] : known ? column[at] : null;
        column.splice(at, known ? 1 : 0, value);
      }
    });
    const over = t.length - MAX_READINGS;
    if (over > 0) {
      t.splice(0, over);
      for (const column of values.values()) column.splice(0, over);
    }
    episode.now = event.t_s.at(-1);
  }

  /** Splits with scores, in order of arrival. */
  splits() {
    return [...new Set([...this.metrics.values()].map((event) => event.split ?? null))];
  }

  /** Newest event of a model in a split. */
  of(map, split, model) {
    return map.get(key(split, model));
  }
}
