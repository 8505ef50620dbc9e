// Source of a tab's events: the worker of all tabs, or a stream of its own.
import {Stream} from './stream.js';

const SHARED = '/static/shared.js', LOST_MS = 60_000;

export function listen(send) {
  if (!globalThis.SharedWorker) return new Stream(send);
  // The trusted-types policy admits only this script address.
  const policy = globalThis.trustedTypes?.createPolicy('shared', {createScriptURL: () => SHARED});
  let port = null, lastMs = 0, alone = false;
  const leave = () => port?.postMessage('bye');
  const join = () => {
    leave();
    lastMs = Date.now();
    const worker = new SharedWorker(policy?.createScriptURL('') ?? SHARED, {type: 'module'});
    worker.onerror = () => {
      if (!alone) new Stream(send);
      alone = true;
    };
    port = worker.port;
    port.onmessage = ({data}) => {
      lastMs = Date.now();
      if (!alone) send(...data);
    };
  };
  join();
  addEventListener('pagehide', leave);
  addEventListener('pageshow', (event) => event.persisted && join());
  // The worker reports a silent stream; if it is silent itself, joining starts another.
  return setInterval(() => Date.now() - lastMs > LOST_MS && !alone && join(), 5_000);
}
