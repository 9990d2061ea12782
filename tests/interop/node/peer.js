// What a device and a module on Microsoft's SDK for Node have in common, through its public API alone: connect, send
// telemetry, get the twin, report, wait for a desired change, get the twin again, answer direct methods, receive, and
// disconnect. What differs, `device.js` and `module.js` bring along.
//
// From the environment:
//   INTEROP_CONNECTION_STRING  with the hub's port in GatewayHostName, which this SDK takes over MQTT
//   INTEROP_CA                 the root certificate of the hub, PEM
//   INTEROP_TASK               JSON: telemetry to send, patches to report, the answer to each method by its name, and how many
//                              messages to receive
// On standard output, one JSON value a line, each with the name of what it tells: "twin", "desired", "twin_after", "methods",
// "received"; or {"refused": "<name of the error>"} and exit code 3.
'use strict';

const { Message } = require('azure-iot-device');
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

function fromTwin({ properties: { desired, reported } }) {
  // What the SDK adds to `reported` is a function, which JSON leaves out.
  return { desired, reported };
}

function report(twin, patch) {
  return new Promise((resolve, reject) => {
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
  });
}

// Listening is what subscribes. The SDK first shows a new listener what it knows already.
function desiredChange(twin) {
  const known = twin.properties.desired.$version;
  return new Promise((resolve, reject) => {
    twin.once('error', reject);
    twin.on('properties.desired', (patch) => {
      if (patch.$version !== known) {
        resolve(patch);
      }
    });
  });
}

// Answers each method once, and gives the requests in the order in which they came. `onMethod(name, handler)` subscribes.
function answerMethods(onMethod, answers) {
  const names = Object.keys(answers);
  const requests = [];
  let sent = 0;
  return new Promise((resolve, reject) => {
    for (const name of names) {
      onMethod(name, (request, response) => {
        requests.push({ name: request.methodName, payload: request.payload });
        response.send(answers[name].status, answers[name].payload, (error) => {
          sent += 1;
          if (error) {
            reject(error);
          } else if (sent === names.length) {
            resolve(requests);
          }
        });
      });
    }
  });
}

// Completes so many messages one after the other, and gives them. `onMessage(handler)` subscribes.
function receive(client, onMessage, count) {
  const received = [];
  return new Promise((resolve, reject) => {
    onMessage((message, told) => {
      received.push({ ...fromMessage(message), ...told });
      client.complete(message, (error) => {
        if (error) {
          reject(error);
        } else if (received.length === count) {
          resolve(received);
        }
      });
    });
  });
}

// `send(client, message, given)` is a promise.
async function converse(Client, { send, onMethod, onMessage }) {
  const task = JSON.parse(process.env.INTEROP_TASK);
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

  for (const given of task.telemetry) {
    await send(client, toMessage(given), given);
  }

  const twin = await client.getTwin();
  tell({ twin: fromTwin(twin) });
  for (const patch of task.reported) {
    await report(twin, patch);
  }
  tell({ desired: await desiredChange(twin) });
  tell({ twin_after: fromTwin(await client.getTwin()) });

  tell({ methods: await answerMethods((name, handler) => onMethod(client, name, handler), task.methods) });
  tell({ received: await receive(client, (handler) => onMessage(client, handler), task.receive) });

  await client.close();
  return 0;
}

// Some timers of the SDK outlive `close`, so the end is said.
exports.run = (Client, differences) =>
  converse(Client, differences).then(
    (code) => process.exit(code),
    (error) => {
      console.error(error);
      process.exit(1);
    }
  );
