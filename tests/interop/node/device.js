// A device. See peer.js.
'use strict';

const { Client } = require('azure-iot-device');
const { run } = require('./peer');

run(Client, {
  send: (client, message) => client.sendEvent(message),
  onMethod: (client, name, handler) => client.onDeviceMethod(name, handler),
  // Asking for messages is what subscribes.
  onMessage: (client, handler) => client.on('message', (message) => handler(message, {})),
});
