// A device on Microsoft's SDK for Node, used through its public API alone: connects, sends the telemetry that it is given,
// waits for one cloud-to-device message, and disconnects.
//
// From the environment:
//   INTEROP_CONNECTION_STRING  with the hub's port in GatewayHostName, which this SDK takes over MQTT
//   INTEROP_CA                 the root certificate of the hub, PEM
//   INTEROP_TELEMETRY          JSON: what to send
// On standard output, one JSON value a line: {"received": {..}}, or {"refused": "<name of the error>"} and exit code 3.
'use strict';

const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const EXIT_REFUSED = 3;

function tell(value) {
  process.stdout.write(JSON.stringify(value) + '\n');
}

function toMessage(given) {
  const message = new Message(Buffer.from(given.body_hex, 'hex'));
  message.messageId = given.message_id;
  message.correlationId = given.correlation_id;
  message.userId = given.user_id;
  message.contentType = given.content_type;
  message.contentEncoding = given.content_encoding;
  for (const [name, value] of Object.entries(given.properties)) {
    message.properties.add(name, value);
  }
  return message;
}

function fromMessage(message) {
  const properties = {};
  for (const { key, value } of message.properties.propertyList) {
    properties[key] = value;
  }
  return {
    body_hex: Buffer.from(message.getData()).toString('hex'),
    message_id: message.messageId,
    correlation_id: message.correlationId,
    user_id: message.userId,
    content_type: message.contentType,
    content_encoding: message.contentEncoding,
    properties,
  };
}

async function main() {
  const client = Client.fromConnectionString(process.env.INTEROP_CONNECTION_STRING, Mqtt);
  await client.setOptions({ ca: process.env.INTEROP_CA });
  client.on('error', (error) => {
    throw error;
  });

  try {
    await client.open();
  } catch (error) {
    tell({ refused: error.name });
    return EXIT_REFUSED;
  }

  for (const given of JSON.parse(process.env.INTEROP_TELEMETRY)) {
    await client.sendEvent(toMessage(given));
  }

  // Asking for messages is what subscribes.
  const message = await new Promise((resolve) => client.once('message', resolve));
  await client.complete(message);
  tell({ received: fromMessage(message) });

  await client.close();
  return 0;
}

// Some timers of the SDK outlive `close`, so the end is said.
main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(1);
  }
);
