"""A back end on Microsoft's service SDK for Python over AMQP: sends three messages to a device.

From the environment:
  INTEROP_CONNECTION_STRING  of the service; its HostName is a loopback address of the run's own
  INTEROP_DEVICE             the device to send to
  INTEROP_PROXY              if it is there, AMQP goes on a WebSocket; to the hub itself, for this SDK takes no proxy
The SDK trusts what certifi trusts and nothing else: the runner has put the hub's root certificate there.
On standard output, one JSON value a line; or {"refused": "<name of the error>"} and exit code 3.
"""

import json
import os
import sys

from azure.iot.hub import IoTHubRegistryManager
from uamqp import TransportType


def tell(value):
    print(json.dumps(value), flush=True)


def main():
    try:
        way = TransportType.AmqpOverWebsocket if "INTEROP_PROXY" in os.environ else TransportType.Amqp
        manager = IoTHubRegistryManager.from_connection_string(os.environ["INTEROP_CONNECTION_STRING"], way)
        for body in ["accept", "reject", "abandon"]:
            properties = {"messageId": "id-" + body, "p": "q", "ack": "full"}
            manager.send_c2d_message(os.environ["INTEROP_DEVICE"], body, properties)
    except Exception as error:  # Whatever its type, it is what an application would see.
        tell({"refused": type(error).__name__, "text": str(error)})
        return 3
    tell({"sent": 3})
    return 0


sys.exit(main())
