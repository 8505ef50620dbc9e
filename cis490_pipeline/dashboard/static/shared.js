// A worker that all tabs share, and one stream for them: a browser opens six connections to a server.
import {Stream} from './stream.js';

const tabs = new Set();
let stream = null;
const tell = (...message) => { for (const tab of tabs) tab.postMessage(message); };

onconnect = ({ports: [tab]}) => {
  tab.onmessage = () => tabs.delete(tab);
  tabs.add(tab);
  // Anew for all: the state comes before what follows it.
  if (stream) stream.open();
  else stream = new Stream(tell);
};
