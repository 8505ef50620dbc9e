// The stream of events: opened again whenever it ends, and never believed to be alive in silence.
const SILENT_MS = 40_000;
const AGAIN_MS = 3_000;

export class Stream {
  #source = null;
  #heard = 0;
  #timer = null;

  /** `tell(name, text)`: message, reset, ready and status with JSON, state with a word. */
  constructor(tell) {
    this.tell = tell;
    this.open();
    setInterval(() => this.#check(), 5_000);
  }

  /** Open it anew: everything comes from the start. */
  open() {
    this.#source?.close();
    clearTimeout(this.#timer);
    this.#heard = Date.now();
    const source = (this.#source = new EventSource('/events'));
    for (const name of ['message', 'reset', 'ready', 'status']) {
      source.addEventListener(name, (message) => {
        this.#heard = Date.now();
        this.tell(name, message.data);
      });
    }
    source.onopen = () => this.tell('state', 'live');
    source.onerror = () => {
      this.tell('state', 'reconnecting');
      // A browser gives up on an answer that is no stream; the server may be back by then.
      if (source.readyState === EventSource.CLOSED) this.#again();
    };
  }

  #again() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const answer = await fetch('/', {cache: 'no-store'}).catch(() => null);
      // Logged out meanwhile: the page asked for is the form.
      if (answer?.status === 401) this.tell('state', 'out');
      else this.open();
    }, AGAIN_MS);
  }

  #check() {
    if (Date.now() - this.#heard < SILENT_MS) return;
    this.tell('state', 'silent');
    this.open();
  }
}
