"""A module: it sends each message to the output that it is given, and receives on inputs. See peer.py."""

import sys

from azure.iot.device import IoTHubModuleClient

import peer

sys.exit(
    peer.run(
        IoTHubModuleClient,
        lambda client, message, given: client.send_message_to_output(message, given["output"]),
    )
)
