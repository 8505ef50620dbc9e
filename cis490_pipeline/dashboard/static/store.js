// What the page knows: the newest event of each key, bounded like the server's state.
const LIMITS = {metrics: 512, perf: 256, confusion: 256, groups: 4096, curves: 256, episodes: 16, points: 4000};
export const MAX_WINDOWS = 2000;
export const MAX_READINGS = 2400;
export const MAX_CHANNELS = 64;

const key = (...parts) => JSON.stringify(parts);

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
    const takers = {
      model_metric: () => this.#scored(event),
      model_failure: () => this.#scored(event),
      model_perf: () => {
        keep(this.perf, key(event.device, event.model), event, LIMITS.perf);
        this.touch('inference', 'top');
      },
      confusion: () => {
        keep(this.confusion, key(event.split ?? null, event.model), event, LIMITS.confusion);
        this.touch('confusion');
      },
      group_metric: () => {
        keep(this.groups, key(event.split ?? null, event.model, event.profile, event.host_id), event, LIMITS.groups);
        this.touch('groups');
      },
      attack_profile: () => {
        keep(this.curves, key(event.name, event.channel), event, LIMITS.curves);
        this.touch('profiles');
      },
      embedding: () => {
        const k = event.window_idx == null ? key(event.x, event.y, event.z, event.phase)
          : key(event.model, event.episode_id, event.window_idx);
        keep(this.points, k, event, LIMITS.points);
        this.touch('embedding');
      },
      episode: () => {
        const episode = this.#episode(event.episode_id);
        episode.about = event;
      },
      phase: () => {
        const episode = this.#episode(event.episode_id ?? '');
        keep(episode.phases, event.t_s ?? null, event, 256);
      },
      source_state: () => keep(this.#episode(event.episode_id).sources, event.source, event, 16),
      prediction: () => this.#predicted(event),
      telemetry: () => this.#measured(event),
    };
    // Own keys alone: a type named after something every object has is none of ours.
    if (Object.hasOwn(takers, event.type)) takers[event.type]();
  }

  #scored(event) {
    keep(this.metrics, key(event.split ?? null, event.model), event, LIMITS.metrics);
    this.split = event.split ?? null;
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
      // A replay that begins again brings the same times: they are replaced, not drawn twice.
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

  /** Splits that have scores, in the order they came. */
  splits() {
    return [...new Set([...this.metrics.values()].map((event) => event.split ?? null))];
  }

  /** Newest event of a model in a split. */
  of(map, split, model) {
    return map.get(key(split, model));
  }
}
