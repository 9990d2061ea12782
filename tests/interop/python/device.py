"""A device. See peer.py."""

import sys

from azure.iot.device import IoTHubDeviceClient

import peer

sys.exit(peer.run(IoTHubDeviceClient, lambda client, message, given: client.send_message(message)))
