"""The demo: five streams of a raw ASGI app, and the page that shows them.

No framework, and no word about keep-alive, disconnects or counting: that is what the middleware adds. The
page shows the source of each stream beside it (`inspect`), so what one reads there is what runs.
"""

import functools
import html
import inspect
import json
import random
import re
import textwrap
from collections import deque
from collections.abc import Callable
from datetime import datetime
from importlib import resources
from typing import Any

import anyio

from .. import SSEMiddleware, Stats, StreamInfo
from .._types import ASGIApp, Message, Receive, Scope, Send

PING_INTERVAL = 3.0
FRAME = {"application/x-ndjson": "lines"}
RECENT = 5
SETTLE = 0.05


def start(content_type: str, status: int = 200) -> Message:
    """The head of a response."""
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", content_type.encode())],
    }


def part(text: str) -> Message:
    """A piece of a body that goes on."""
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


END: Message = {"type": "http.response.body", "body": b""}


async def clock(scope: Scope, receive: Receive, send: Send) -> None:
    """A raw ASGI app; it never looks whether anyone still listens."""
    await send(start("text/event-stream"))
    while True:
        await send(part(f"data: {datetime.now():%H:%M:%S}\n\n"))
        await anyio.sleep(1)


async def readings(scope: Scope, receive: Receive, send: Send) -> None:
    """A legacy route: NDJSON, written before anyone thought of SSE."""
    await send(start("application/x-ndjson"))
    celsius = 21.0
    while True:
        celsius += random.uniform(-0.3, 0.3)
        record = {"celsius": round(celsius, 1)}
        await send(part(json.dumps(record) + "\n"))
        await anyio.sleep(0.7)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """A POST whose answer arrives token by token, as from an LLM."""
    question = json.loads(await body(receive))["question"]
    await send(start("text/event-stream"))
    for token in tokens(question):
        await send(part(f"data: {json.dumps(token)}\n\n"))
        await anyio.sleep(0.09)
    await send(part("event: done\ndata:\n\n"))
    await send(END)


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """An app with nothing to say; every ping is the middleware's."""
    await send(start("text/event-stream"))
    await anyio.sleep_forever()


async def body(receive: Receive) -> bytes:
    """The whole body of the request."""
    whole, more = b"", True
    while more:
        message = await receive()
        whole += message.get("body", b"")
        more = message.get("more_body", False)
    return whole


def tokens(question: str) -> list[str]:
    """An answer in the pieces in which a language model would give it."""
    text = (
        f"You asked: “{question}” This answer was sent one token at a time, each as an event of its own, in "
        "the response to a POST. EventSource can only GET, so the page reads it with fetch and a parser of "
        "thirty lines. Press Stop while it arrives: the server's count of open streams drops at once, and "
        "the reason reads client_left instead of completed."
    )
    return re.findall(r"\S+\s*", text)


class Counter:
    """Pushes the middleware's `stats()` to every page when a stream opens or closes."""

    def __init__(self) -> None:
        self.stats: Callable[[], Stats]
        self._closed: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._changed = anyio.Event()

    def on_open(self, info: StreamInfo) -> None:
        self._wake()

    def on_close(self, info: StreamInfo) -> None:
        self._closed.appendleft({"path": info.path, "reason": info.reason, "seconds": round(info.duration, 1)})
        self._wake()

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The middleware's own count, pushed when a stream opens or closes."""
        await send(start("text/event-stream"))
        while True:
            changed = self._changed
            await send(part(f"data: {self.snapshot()}\n\n"))
            await changed.wait()
            await anyio.sleep(SETTLE)  # a closing tab ends several: one event for all

    def snapshot(self) -> str:
        """The count as JSON."""
        now = self.stats()
        return json.dumps(
            {
                "open": now.open,
                "opened": now.opened,
                "pings": now.pings,
                "closed": dict(now.closed),
                "recent": list(self._closed),
            }
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Any other path."""
    await send(start("text/plain; charset=utf-8", 404))
    await send({"type": "http.response.body", "body": b"Not found"})


def routes(counter: Counter) -> dict[str, ASGIApp]:
    """Every path of the demo."""
    return {
        "/": page,
        "/clock": clock,
        "/legacy/readings": readings,
        "/answer": answer,
        "/silent": silent,
        "/stats": counter.stream,
    }


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """The page itself."""
    await send(start("text/html; charset=utf-8"))
    await send({"type": "http.response.body", "body": rendered()})


@functools.cache
def rendered() -> bytes:
    """`demo.html`, with the source of each stream put in."""
    text = resources.files("sse_mw.cli").joinpath("demo.html").read_text("utf-8")
    shown: list[ASGIApp] = [clock, readings, answer, silent]
    for function in shown:
        text = text.replace(f"{{{{ {function.__name__} }}}}", source(function))
    return text.encode()


KINDS = {
    "comment": r"#.*",
    "string": r"f?\"(?:\\.|[^\"\\\n])*\"",
    "keyword": r"\b(?:async|await|def|for|in|while|True)\b",
}
LEXICON = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in KINDS.items()))


def source(function: Callable[..., object]) -> str:
    """A function's source as HTML, without its docstring, which the page tells in its own words."""
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    code = re.sub(r'\n +"""[^"]*"""', "", code)
    shown: list[str] = []
    end = 0
    for match in LEXICON.finditer(code):
        shown += [html.escape(code[end : match.start()], quote=False)]
        shown += [f'<span class="{match.lastgroup}">{html.escape(match[0], quote=False)}</span>']
        end = match.end()
    return "".join(shown) + html.escape(code[end:], quote=False)


def application(**options: Any) -> ASGIApp:
    """The demo, wrapped; the options given on the command line win over its own."""
    counter = Counter()
    paths = routes(counter)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await paths.get(scope["path"], not_found)(scope, receive, send)

    options = {"ping_interval": PING_INTERVAL, **options, "frame": FRAME | options.get("frame", {})}
    middleware = SSEMiddleware(app, on_open=counter.on_open, on_close=counter.on_close, **options)
    counter.stats = middleware.stats
    return middleware


async def lifespan(receive: Receive, send: Send) -> None:
    """Nothing to start and nothing to end; servers log a warning when it is refused."""
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
