"""Testing event streams without a server, and without waiting: `async with connect(app, "/orders") as stream`."""

from ._client import Client, RequestOptions, connect
from ._clock import Deadlock, VirtualLoop
from ._compare import assert_events
from ._errors import Leaked, LifespanFailed, NoEventStream, StreamEnded, StreamTimeout, UnexpectedMessage
from ._events import Chunk, ReceivedEvent
from ._faults import Faults
from ._recording import Recording, StreamedResponse, record
from ._stream import EventStream, Headers
from ._sync import SyncClient, SyncEventStream
from ._time import advance, virtual_backend, virtual_time

__all__ = [
    "Chunk",
    "Client",
    "Deadlock",
    "EventStream",
    "Faults",
    "Headers",
    "Leaked",
    "LifespanFailed",
    "NoEventStream",
    "ReceivedEvent",
    "Recording",
    "RequestOptions",
    "StreamEnded",
    "StreamTimeout",
    "StreamedResponse",
    "SyncClient",
    "SyncEventStream",
    "UnexpectedMessage",
    "VirtualLoop",
    "advance",
    "assert_events",
    "connect",
    "record",
    "virtual_backend",
    "virtual_time",
]
