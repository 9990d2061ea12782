// A device, or with INTEROP_MODULE a module, on Microsoft's SDK for Node over AMQP, used through its public API alone.
//
// From the environment:
//   INTEROP_CONNECTION_STRING  whose HostName is a loopback address of the run's own; the hub is on the port that the SDK expects
//   INTEROP_PROXY              if it is there: the URL of a proxy, through which AMQP goes on a WebSocket
//   INTEROP_CA                 the root certificate of the hub, PEM
// On standard output, one JSON value a line, each with the name of what it tells; or {"refused": "<name of the error>"} and exit code 3.
'use strict';

const { Client, Message, ModuleClient } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { HttpsProxyAgent } = require('https-proxy-agent');

const EXIT_REFUSED = 3;
const isModule = process.env.INTEROP_MODULE === 'yes';

function tell(value) {
  process.stdout.write(JSON.stringify(value) + '\n');
}

function promised(call) {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))));
}

function telemetry(body) {
  const message = new Message(body);
  message.messageId = 'id-' + body;
  message.correlationId = 'correlation';
  message.contentType = 'text/plain';
  message.contentEncoding = 'utf-8';
  message.properties.add('name', 'värde 1&2');
  return message;
}

// One message each: accepted, rejected, given back, which then comes again and is accepted.
function settleMessages(client) {
  const told = [];
  let givenBack = false;
  return new Promise((resolve, reject) => {
    client.on('message', async (message) => {
      const body = message.getData().toString();
      try {
        if (body === 'reject') {
          await client.reject(message);
        } else if (body === 'abandon' && !givenBack) {
          givenBack = true;
          await client.abandon(message);
        } else {
          await client.complete(message);
        }
      } catch (error) {
        reject(error);
      }
      told.push({ body, message_id: message.messageId, property: message.properties.getValue('p') });
      if (told.length === 4) {
        resolve(told);
      }
    });
  });
}

function inputs(client) {
  return new Promise((resolve) => {
    client.on('inputMessage', async (input, message) => {
      await client.complete(message);
      resolve({ input, body: message.getData().toString() });
    });
  });
}

function answerMethod(client) {
  return new Promise((resolve, reject) => {
    const handler = (request, response) => {
      response.send(207, { answer: request.payload }, (error) =>
        error ? reject(error) : resolve({ name: request.methodName, payload: request.payload })
      );
    };
    if (isModule) {
      client.onMethod('turn', handler);
    } else {
      client.onDeviceMethod('turn', handler);
    }
  });
}

async function main() {
  const kind = isModule ? ModuleClient : Client;
  const proxy = process.env.INTEROP_PROXY;
  const client = kind.fromConnectionString(process.env.INTEROP_CONNECTION_STRING, proxy ? AmqpWs : Amqp);
  const amqp = proxy && { webSocketAgent: new HttpsProxyAgent(proxy) };
  await client.setOptions({ ca: process.env.INTEROP_CA, amqp });
  client.on('error', (error) => {
    throw error;
  });
  try {
    await client.open();
  } catch (error) {
    tell({ refused: error.name });
    return EXIT_REFUSED;
  }

  for (const body of ['one', 'two', 'three']) {
    if (isModule) {
      await promised((done) => client.sendOutputEvent('out', telemetry(body), done));
    } else {
      await client.sendEvent(telemetry(body));
    }
  }
  tell({ sent: 3 });

  const twin = await promised((done) => client.getTwin(done));
  tell({ twin: { desired: twin.properties.desired, reported: twin.properties.reported } });
  await promised((done) => twin.properties.reported.update({ a: { b: 1 }, gone: null }, done));
  const known = twin.properties.desired.$version;
  const change = new Promise((resolve) =>
    twin.on('properties.desired', (patch) => patch.$version !== known && resolve(patch))
  );
  tell({ desired: await change });

  const method = answerMethod(client);
  tell({ method: await method });

  tell({ messages: isModule ? [await inputs(client)] : await settleMessages(client) });
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
