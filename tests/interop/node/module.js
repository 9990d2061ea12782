// A module: it sends each message to the output that it is given, and receives on inputs. See peer.js.
'use strict';

const { ModuleClient } = require('azure-iot-device');
const { run } = require('./peer');

run(ModuleClient, {
  send: (client, message, given) => client.sendOutputEvent(given.output, message),
  onMethod: (client, name, handler) => client.onMethod(name, handler),
  // Asking for messages is what subscribes.
  onMessage: (client, handler) => client.on('inputMessage', (input, message) => handler(message, { input })),
});
