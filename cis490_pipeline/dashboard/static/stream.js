// Event stream: reopened when it ends or is silent for too long.
const SILENT_MS = 40_000;
const AGAIN_MS = 3_000;

export class Stream {
  #source = null;
  #lastMs = 0;
  #timer = null;

  /** `send(name, text)`: message, reset, ready and status with JSON, state with a word. */
  constructor(send) {
    this.send = send;
    this.open();
    setInterval(() => this.#check(), 5_000);
  }

  /** Open a new stream, which starts with a snapshot. */
  open() {
    this.#source?.close();
    clearTimeout(this.#timer);
    this.#lastMs = Date.now();
    const source = (this.#source = new EventSource('/events'));
    for (const name of ['message', 'reset', 'ready', 'status']) {
      source.addEventListener(name, (message) => {
        this.#lastMs = Date.now();
        this.send(name, message.data);
      });
    }
    source.onopen = () => this.send('state', 'live');
    source.onerror = () => {
      this.send('state', 'reconnecting');
      // Browsers give up on a response that is no stream; the server may come back.
      if (source.readyState === EventSource.CLOSED) this.#again();
    };
  }

  #again() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const answer = await fetch('/', {cache: 'no-store'}).catch(() => null);
      // Session ended: the page is the login form.
      if (answer?.status === 401) this.send('state', 'out');
      else this.open();
    }, AGAIN_MS);
  }

  #check() {
    if (Date.now() - this.#lastMs < SILENT_MS) return;
    this.send('state', 'silent');
    this.open();
  }
}
