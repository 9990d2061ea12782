"""What a device and a module on Microsoft's SDK for Python have in common, through its public API alone: connect, send
telemetry, get the twin, report, wait for a desired change, get the twin again, answer direct methods, receive, and
disconnect. What differs, `device.py` and `module.py` bring along.

From the environment:
  INTEROP_CONNECTION_STRING
  INTEROP_PORT               the hub's port
  INTEROP_CA                 the root certificate of the hub, PEM
  INTEROP_TASK               JSON: telemetry to send, patches to report, the answer to each method by its name, and how many
                             messages to receive
On standard output, one JSON value a line, each with the name of what it tells: "twin", "desired", "twin_after", "methods",
"received"; or {"refused": "<name of the error>"} and exit code 3.
"""

import json
import os
import queue

import paho.mqtt.client
from azure.iot.device import Message, MethodResponse
from azure.iot.device.exceptions import ClientError

EXIT_REFUSED = 3


def use_port(port):
    """This SDK always asks for port 8883. The MQTT library under it, paho, is asked for another one instead."""
    connect = paho.mqtt.client.Client.connect

    def connect_elsewhere(self, host, **options):
        return connect(self, host, **{**options, "port": port})

    paho.mqtt.client.Client.connect = connect_elsewhere


def tell(value):
    print(json.dumps(value), flush=True)


def to_message(given):
    message = Message(bytes.fromhex(given["body_hex"]))
    message.message_id = given["message_id"]
    message.correlation_id = given["correlation_id"]
    message.user_id = given["user_id"]
    message.content_type = given["content_type"]
    message.content_encoding = given["content_encoding"]
    message.custom_properties = given["properties"]
    return message


def from_message(message):
    told = {
        "body_hex": message.data.hex(),
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "user_id": message.user_id,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "properties": message.custom_properties,
    }
    if message.input_name is not None:
        told["input"] = message.input_name
    return told


def desired_change(client):
    # Setting the handler is what subscribes.
    patches = queue.Queue()
    client.on_twin_desired_properties_patch_received = patches.put
    return patches.get()


def answer_methods(client, answers):
    """Answers each method once, and gives the requests in the order in which they came."""
    arriving = queue.Queue()
    client.on_method_request_received = arriving.put
    requests = []
    for _ in answers:
        request = arriving.get()
        requests.append({"name": request.name, "payload": request.payload})
        answer = answers[request.name]
        client.send_method_response(
            MethodResponse.create_from_method_request(request, answer["status"], answer["payload"])
        )
    return requests


def receive(client, count):
    """Gives so many messages."""
    # Setting the handler is what subscribes. The SDK completes each message as it comes.
    received = queue.Queue()
    client.on_message_received = received.put
    return [from_message(received.get()) for _ in range(count)]


def run(client_class, send):
    """The exit code. `send(client, message, given)` returns when the hub has the message."""
    task = json.loads(os.environ["INTEROP_TASK"])
    use_port(int(os.environ["INTEROP_PORT"]))
    client = client_class.create_from_connection_string(
        os.environ["INTEROP_CONNECTION_STRING"], server_verification_cert=os.environ["INTEROP_CA"]
    )
    try:
        client.connect()
    except ClientError as error:
        tell({"refused": type(error).__name__})
        client.shutdown()
        return EXIT_REFUSED

    for given in task["telemetry"]:
        send(client, to_message(given), given)

    tell({"twin": client.get_twin()})
    for patch in task["reported"]:
        client.patch_twin_reported_properties(patch)
    tell({"desired": desired_change(client)})
    tell({"twin_after": client.get_twin()})

    tell({"methods": answer_methods(client, task["methods"])})
    tell({"received": receive(client, task["receive"])})

    client.shutdown()
    return 0
