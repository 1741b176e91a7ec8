"""Text to the bytes of an event, in-process: nanoseconds for one call, the best of several repetitions a round.

"f-string" checks nothing, and is wrong for a text of more than one line; "pure Python" is the fastest correct one that
we could write without a package. The JSON is a string already.
"""

import json
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from sse_mw._wire import encode_data

from ..paired import Sample, interleave
from ..tables import Measure, Table, against

ROW = {"id": 184, "name": "a row of a table", "price": 17.25, "tags": ["new", "sale", "blue"], "note": "x" * 98}
PAYLOADS = {
    "20 B of text": "01234567890123456789",
    "200 B of JSON": json.dumps(ROW),
    "4 KiB in one line": "0123456789abcdef" * 256,
    "64 KiB in 1,024 lines": "\n".join(["0123456789abcdef" * 4] * 1024)[: 64 * 1024],
}
UNCHECKED, CORRECT = "f-string, unchecked", "pure Python"


def unchecked(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


def correct(text: str) -> bytes:
    if "\n" not in text and "\r" not in text:
        return f"data: {text}\n\n".encode()
    block = text.encode()
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return b"data: " + block.replace(b"\n", b"\ndata: ") + b"\n\n"


def contenders() -> dict[str, Callable[[str], bytes]]:
    found: dict[str, Callable[[str], bytes]] = {UNCHECKED: unchecked, CORRECT: correct, "sse_mw": encode_data}
    for name, package, make in OTHERS:
        if find_spec(package):
            found[name] = make()
        else:
            print(f"left out: {name}, as {package} is not installed")
    return found


def _sse_starlette() -> Any:
    from sse_starlette import ServerSentEvent

    return lambda text: ServerSentEvent(data=text).encode()


def _fastapi() -> Any:
    from fastapi.sse import format_sse_event

    return lambda text: format_sse_event(data_str=text)


def _litestar() -> Any:
    from litestar.response.sse import ServerSentEventMessage

    return lambda text: ServerSentEventMessage(data=text).encode()


OTHERS = [
    ("sse-starlette", "sse_starlette", _sse_starlette),
    ("fastapi.sse", "fastapi", _fastapi),
    ("Litestar", "litestar", _litestar),
]


def run(rounds: int, seconds: float) -> Iterator[Table]:
    encoders = contenders()
    for title, text in PAYLOADS.items():
        timers = {name: timeit.Timer(partial(encode, text)) for name, encode in encoders.items()}
        loops = {name: _loops(timer, seconds) for name, timer in timers.items()}
        series = interleave(timers, partial(sample, timers, loops), rounds)
        yield Table(title, series, against(UNCHECKED, series))


def sample(timers: dict[str, timeit.Timer], loops: dict[str, int], name: str) -> Sample:
    return {"ns_per_event": min(timers[name].repeat(5, loops[name])) / loops[name] * 1e9}


def _loops(timer: timeit.Timer, seconds: float) -> int:
    return max(1, int(seconds / timer.timeit(10) * 10))


MEASURE = Measure(
    title="Encoding an event",
    about=__doc__,
    run=run,
    full={"rounds": 9, "seconds": 0.01},
    quick={"rounds": 3, "seconds": 0.003},
    on_linux_only=False,
)
