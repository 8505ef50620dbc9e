// The stream of events: opened again whenever it ends, and never believed to be alive in silence.
const SILENT_MS = 40_000;
const AGAIN_MS = 3_000;

export class Stream {
  #source = null;
  #heard = 0;
  #timer = null;

  /** `on` has: events(list), reset(), status(status), state(word). */
  constructor(on) {
    this.on = on;
    this.#open();
    setInterval(() => this.#check(), 5_000);
  }

  #open() {
    this.#source?.close();
    this.#heard = Date.now();
    const source = (this.#source = new EventSource('/events'));
    const hear = (name, take) => source.addEventListener(name, (message) => {
      this.#heard = Date.now();
      take(JSON.parse(message.data));
    });
    hear('message', (events) => this.on.events(events));
    hear('reset', () => this.on.reset());
    hear('ready', () => this.on.state('live'));
    hear('status', (status) => this.on.status(status));
    source.onopen = () => this.on.state('live');
    source.onerror = () => {
      this.on.state('reconnecting');
      // A browser gives up on an answer that is no stream; the server may be back by then.
      if (source.readyState === EventSource.CLOSED) this.#again();
    };
  }

  #again() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const answer = await fetch('/', {cache: 'no-store'}).catch(() => null);
      // Logged out meanwhile: the page asked for is the form.
      if (answer?.status === 401) location.reload();
      else this.#open();
    }, AGAIN_MS);
  }

  #check() {
    if (Date.now() - this.#heard < SILENT_MS) return;
    this.on.state('silent');
    this.#open();
  }
}
