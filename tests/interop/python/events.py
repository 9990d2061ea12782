"""A reader of the event stream on Microsoft's Event Hubs SDK for Python: lists the partitions and reads everything again, three ways.

From the environment:
  INTEROP_CONNECTION_STRING  of the event stream; its host is a loopback address of the run's own
  INTEROP_PROXY              if it is there: the URL of a proxy, through which AMQP goes on a WebSocket
  INTEROP_CA                 the file with the root certificate of the hub
  INTEROP_COUNT              how many messages are stored
  INTEROP_SINCE              milliseconds since 1970
  INTEROP_LATER              how many of the messages are later than that
On standard output, one JSON value a line.
"""

import json
import os
import sys
import threading
from datetime import datetime, timezone
from urllib.parse import unquote, urlsplit

from azure.eventhub import EventHubConsumerClient

LIMIT = 60


def tell(value):
    print(json.dumps(value), flush=True)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def shown(event):
    properties = {text(name): text(value) for name, value in (event.properties or {}).items()}
    system = {text(name): value for name, value in event.system_properties.items()}
    return {
        "body": event.body_as_str(),
        "properties": properties,
        "device": text(system.get("iothub-connection-device-id")),
        "module": text(system.get("iothub-connection-module-id")),
        "auth_method": text(system.get("iothub-connection-auth-method")),
        "message_id": event.message_id,
        "content_type": text(event.content_type),
        "sequence": event.sequence_number,
        "offset": event.offset,
        "enqueued": round(event.enqueued_time.timestamp() * 1000),
    }


def consumer(group):
    options = {"connection_verify": os.environ["INTEROP_CA"]}
    if "INTEROP_PROXY" in os.environ:
        url = urlsplit(os.environ["INTEROP_PROXY"])
        # With a proxy, the SDK takes a WebSocket by itself.
        options["http_proxy"] = {
            "proxy_hostname": url.hostname,
            "proxy_port": url.port,
            "username": unquote(url.username),
            "password": unquote(url.password),
        }
    return EventHubConsumerClient.from_connection_string(os.environ["INTEROP_CONNECTION_STRING"], group, **options)


def read(group, count, **where):
    """The messages of all partitions behind a position, each partition's in order."""
    client = consumer(group)
    found, enough = [], threading.Event()

    def on_event(context, event):
        found.append(shown(event))
        if len(found) >= count:
            enough.set()

    with client:
        reader = threading.Thread(target=client.receive, kwargs={"on_event": on_event, **where}, daemon=True)
        reader.start()
        if count:
            enough.wait(LIMIT)
        else:
            enough.wait(2)
    reader.join(LIMIT)
    return sorted(found, key=lambda event: event["sequence"])


def main():
    count = int(os.environ["INTEROP_COUNT"])
    since = datetime.fromtimestamp(int(os.environ["INTEROP_SINCE"]) / 1000, timezone.utc)
    client = consumer("$Default")
    with client:
        partitions = client.get_partition_ids()
        facts = [client.get_partition_properties(partition) for partition in partitions]
    tell({"partitions": partitions, "last": max(fact["last_enqueued_sequence_number"] for fact in facts)})
    everything = read("$Default", count, starting_position="-1")
    tell({"by_offset": everything})
    tell({"by_offset_in_second": read("second", count, starting_position="-1")})
    tell({"by_time": read("$Default", int(os.environ["INTEROP_LATER"]), starting_position=since)})
    return 0


sys.exit(main())
