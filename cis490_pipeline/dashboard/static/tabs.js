// Where a tab hears of events: from the worker it shares with the others, or from a stream of its own.
import {Stream} from './stream.js';

const SHARED = '/static/shared.js', LOST_MS = 60_000;

export function listen(tell) {
  if (!globalThis.SharedWorker) return new Stream(tell);
  // No text becomes a script's address: the policy knows this one alone.
  const policy = globalThis.trustedTypes?.createPolicy('shared', {createScriptURL: () => SHARED});
  let port = null, heard = 0, alone = false;
  const leave = () => port?.postMessage('bye');
  const join = () => {
    leave();
    heard = Date.now();
    const worker = new SharedWorker(policy?.createScriptURL('') ?? SHARED, {type: 'module'});
    worker.onerror = () => {
      if (!alone) new Stream(tell);
      alone = true;
    };
    port = worker.port;
    port.onmessage = ({data}) => {
      heard = Date.now();
      if (!alone) tell(...data);
    };
  };
  join();
  addEventListener('pagehide', leave);
  addEventListener('pageshow', (event) => event.persisted && join());
  // The worker says when the stream is silent; if it is silent itself, joining starts another.
  return setInterval(() => Date.now() - heard > LOST_MS && !alone && join(), 5_000);
}
