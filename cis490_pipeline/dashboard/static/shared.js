// One worker and one stream for all tabs: browsers limit connections to a server to six.
import {Stream} from './stream.js';

const tabs = new Set();
let stream = null;
const send = (...message) => { for (const tab of tabs) tab.postMessage(message); };

onconnect = ({ports: [tab]}) => {
  tab.onmessage = () => tabs.delete(tab);
  tabs.add(tab);
  // Reopen for all tabs: the snapshot must precede later events.
  if (stream) stream.open();
  else stream = new Stream(send);
};
