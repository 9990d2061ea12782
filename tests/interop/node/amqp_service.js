// A back end on Microsoft's service SDK for Node over AMQP: sends three messages with feedback to a device, and reads the feedback on them.
//
// From the environment:
//   INTEROP_CONNECTION_STRING  of the service; its HostName is a loopback address of the run's own
//   INTEROP_DEVICE             the device to send to
//   INTEROP_PROXY              if it is there, AMQP goes on a WebSocket; to the hub itself, for this SDK takes no proxy
//   NODE_EXTRA_CA_CERTS        the file with the root certificate of the hub
// On standard output, one JSON value a line; or {"refused": "<name of the error>"} and exit code 3.
'use strict';

const { Amqp, AmqpWs, Client } = require('azure-iothub');
const { Message } = require('azure-iot-common');

const EXIT_REFUSED = 3;

function tell(value) {
  process.stdout.write(JSON.stringify(value) + '\n');
}

function promised(call) {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))));
}

async function main() {
  const client = Client.fromConnectionString(process.env.INTEROP_CONNECTION_STRING, process.env.INTEROP_PROXY ? AmqpWs : Amqp);
  try {
    await client.open();
  } catch (error) {
    tell({ refused: error.name });
    return EXIT_REFUSED;
  }

  const records = [];
  const receiver = await promised((done) => client.getFeedbackReceiver(done));
  const all = new Promise((resolve) => {
    receiver.on('message', (message) => {
      const batch = JSON.parse(message.getData ? message.getData() : message.data);
      records.push(...batch.map((record) => ({ id: record.originalMessageId, status: record.statusCode })));
      receiver.complete(message, () => records.length >= 3 && resolve());
    });
  });

  for (const body of ['accept', 'reject', 'abandon']) {
    const message = new Message(body);
    message.messageId = 'id-' + body;
    message.ack = 'full';
    message.properties.add('p', 'q');
    await client.send(process.env.INTEROP_DEVICE, message);
  }
  tell({ sent: 3 });
  const nobody = await client.send('nobody-at-all', new Message('x')).then(
    () => 'sent',
    (error) => error.name
  );
  tell({ nobody });

  await all;
  tell({ feedback: records });
  await client.close();
  return 0;
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(1);
  }
);
