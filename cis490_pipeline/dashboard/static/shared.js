// One worker and stream for all tabs: browsers allow six connections to a server.
import {Stream} from './stream.js';

const tabs = new Set();
let stream = null;
const send = (...message) => { for (const tab of tabs) tab.postMessage(message); };

onconnect = ({ports: [tab]}) => {
  tab.onmessage = () => tabs.delete(tab);
  tabs.add(tab);
  // Reopen for all tabs: a snapshot must precede later events.
  if (stream) stream.open();
  else stream = new Stream(send);
};
