"""A server is killed, or told to end, and starts anew where it was: a hundred clients come back, and miss nothing."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest
from httpx_sse import SSEError, aconnect_sse
from playwright.sync_api import Browser

from support.faults import RETRY
from support.restarts import kill, notes, start_at
from support.servers import KINDS, Server, ServerKind, StartServer, free_port

APP = "support.faults:app"
CLIENTS = 100
PATIENCE = 30.0
"""Seconds for all of them, on a machine that may be busy."""
HTTP_2 = [kind for kind in KINDS if kind.name in ("hypercorn-asyncio", "hypercorn-trio")]


both_ends = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)


def end(running: Server, number: int) -> None:
    if number == signal.SIGKILL:
        kill(running)
    else:
        running.signal(number)
        running.wait(5)


def check_return(running: Server) -> None:
    """All have come to the new server, each with the ID of an event that it had seen."""
    opened = {note["client"]: note for note in notes(running, "opened")}
    assert len(opened) == CLIENTS
    assert all(note["last"] for note in opened.values())
    assert "Traceback" not in running.output()


def check_spread(delays: list[int]) -> None:
    """Milliseconds that a drain has told the clients, at random around the `retry`, and so hardly ever just that."""
    assert CLIENTS * 0.9 <= len(delays) <= CLIENTS
    assert RETRY / 2 <= min(delays) < RETRY * 0.8
    assert RETRY * 1.2 < max(delays) <= RETRY * 1.5
    assert len(set(delays)) > CLIENTS / 2


# With httpx-sse, as its documentation has it: https://github.com/florimondmanca/httpx-sse#handling-reconnections


@dataclass
class Follower:
    """One client, that comes back for as long as it runs."""

    url: str
    seen: list[int] = field(default_factory=list[int])
    told: list[int] = field(default_factory=lambda: [0])
    """Milliseconds to wait before it comes back, the last as it stands."""

    async def follow(self, client: httpx.AsyncClient) -> None:
        last_event_id = ""
        while True:
            await asyncio.sleep(self.told[-1] / 1000)
            headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
            try:
                async with aconnect_sse(client, "GET", self.url, headers=headers) as source:
                    async for event in source.aiter_sse():
                        # The documentation takes every `id`, and so forgets its own at a `retry` that comes first.
                        last_event_id = event.id or last_event_id
                        self.told += [] if event.retry is None else [event.retry]
                        if event.data:
                            self.seen.append(int(event.data))
            except SSEError:
                raise  # a response that is no event stream
            except httpx.TransportError:
                pass  # the connection is gone, or there is none to be had


@both_ends
def test_a_hundred_clients_of_httpx_sse_come_back_and_miss_nothing(
    server: StartServer, server_kind: ServerKind, number: int
) -> None:
    port = free_port()
    running = start_at(port, server, server_kind, APP)
    followers = [Follower(f"{running.url}/numbers?{index}") for index in range(CLIENTS)]

    def restart() -> Server:
        end(running, number)
        return start_at(port, server, server_kind, APP)

    async def scenario() -> Server:
        limits, timeout = httpx.Limits(max_connections=None), httpx.Timeout(PATIENCE)
        async with httpx.AsyncClient(limits=limits, timeout=timeout) as client, asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(follower.follow(client)) for follower in followers]
            await events(followers, 2)
            again = await asyncio.to_thread(restart)
            await all_of(lambda: len(notes(again, "opened")) == CLIENTS)
            await events(followers, 2)
            for task in following:
                task.cancel()
        return again

    again = asyncio.run(scenario())
    for follower in followers:
        assert follower.seen == list(range(1, len(follower.seen) + 1))
    check_return(again)
    told = [delay for follower in followers for delay in follower.told if delay not in (0, RETRY)]
    if number == signal.SIGTERM:
        check_spread(told)
    else:
        assert told == [], "the clients' own is all that they have"


async def events(followers: list[Follower], count: int) -> None:
    """Each sees so many more."""
    wanted = {id(follower): len(follower.seen) + count for follower in followers}
    await all_of(lambda: all(len(follower.seen) >= wanted[id(follower)] for follower in followers))


async def all_of(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < until, "somebody is lost"
        await asyncio.sleep(0.02)


# In a browser, over HTTP/2: over HTTP/1.1 it opens six connections to one server.

OPEN = """count => {
    window.sources = Array.from({length: count}, (_, index) => {
        const client = {seen: [], errors: [], source: new EventSource("/numbers?" + index)};
        client.source.onmessage = event => client.seen.push(Number(event.lastEventId));
        client.source.onerror = () => client.errors.push(performance.now());
        return client;
    });
}"""


@pytest.mark.browser
@pytest.mark.parametrize("server_kind", HTTP_2, indirect=True, ids=lambda kind: kind.name)
@both_ends
def test_a_hundred_event_sources_of_a_browser_come_back_and_miss_nothing(
    server: StartServer, server_kind: ServerKind, browser: Browser, certificate: tuple[str, str], number: int
) -> None:
    port = free_port()
    secure = ("--certfile", certificate[0], "--keyfile", certificate[1])
    running = start_at(port, server, server_kind, APP, *secure)
    with browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"https://127.0.0.1:{port}/")
        page.evaluate(OPEN, CLIENTS)
        page.wait_for_function("sources.every(client => client.seen.length >= 2)")
        end(running, number)
        # Nobody listens until all have tried to come back once, after the time that they were told.
        page.wait_for_function("sources.every(client => client.errors.length >= 2)")
        delays: list[float] = page.evaluate("sources.map(client => client.errors[1] - client.errors[0])")
        before: list[int] = page.evaluate("sources.map(client => client.seen.length)")
        again = start_at(port, server, server_kind, APP, *secure)
        page.wait_for_function(
            "before => sources.every((client, index) => client.seen.length >= before[index] + 2)", arg=before
        )
        seen: list[list[int]] = page.evaluate("sources.map(client => client.seen)")
    for client in seen:
        assert client == list(range(1, len(client) + 1))
    check_return(again)
    if number == signal.SIGTERM:
        assert max(delays) - min(delays) > RETRY / 2, "spread"
    assert RETRY * 0.9 < sorted(delays)[CLIENTS // 2] < RETRY * 2, "not the browser's own three seconds"
