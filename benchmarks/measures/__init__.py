"""The measures, by name, in the order in which they run."""

from ..tables import Measure
from . import encode, growth, idle, latency, per_event, request, short, sockets

MEASURES: dict[str, Measure] = {
    "encode": encode.MEASURE,
    "per_event": per_event.MEASURE,
    "sockets": sockets.MEASURE,
    "short": short.MEASURE,
    "idle": idle.MEASURE,
    "latency": latency.MEASURE,
    "request": request.MEASURE,
    "growth": growth.MEASURE,
}
