"""Datastar's SDK for Python behind the middleware: its events as they were, pings between them, a prompt end."""

import pytest

from sse_mw._wire import Decoder
from support.servers import StartServer

pytestmark = pytest.mark.server


@pytest.mark.parametrize("path", ["/response", "/route"])
def test_its_events_arrive_whole_with_pings_between_them(server: StartServer, path: str) -> None:
    running = server("support.programs.datastar_server:app")
    with running.connect() as client:
        client.request(path=path)
        client.read_until(b"datastar-patch-signals")
        client.read_until(b": ping\n\n")
        comments: list[str] = []
        elements, signals = Decoder(comments.append).feed(client.body)
        assert client.headers["content-type"].startswith("text/event-stream")
        assert (elements.event, elements.data) == (
            "datastar-patch-elements",
            'elements <p id="a">one\nelements two</p>',
        )
        assert (signals.event, signals.data) == ("datastar-patch-signals", 'signals {"count":1}')
        assert "ping" in comments
        client.abort()
    running.wait_for_output("stopped", within=1.0)
