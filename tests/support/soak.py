"""The clients of a soak: forty at a time, each of which does one thing after the other that clients do to servers.

    python -m support.soak PORT SECONDS [WHAT IS LEFT OUT ...]

A process of its own, as it takes a processor of its own. Its last line is JSON: how often each thing was done. What a
server answers that it should not ends it with a traceback.
"""

import asyncio
import json
import random
import re
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Self

CLIENTS = 40
PATIENCE = 20.0
"""Seconds that one thing may take, on a busy machine."""
LINES = 5
SEND_TIMEOUT = 1.0
LAST_CHUNK = b"\r\n0\r\n\r\n"
ENDLESS = ("paced", "source", "thread", "starlette", "limited/paced", "limited/source", "silent")
ACCEPT = "Accept: text/event-stream\r\n"
ANOTHER = b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n"
GARBAGE = b"\x00\xffnonsense / of no HTTP\r\n\r\n"
names = count()


class Gone(Exception):
    """The server has closed or reset the connection."""


class Connection:
    """One connection on a plain socket, as what it does to the server is done on the socket."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.seen = b""

    async def __aenter__(self) -> Self:
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # what the server has answered by then can be read still
            await self._loop.sock_sendall(self._socket, data)

    async def request(self, path: str, method: str = "GET", fields: str = "", body: bytes = b"") -> None:
        if body:
            fields += f"Content-Length: {len(body)}\r\n"
        await self.send(f"{method} /{path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode() + body)

    async def read(self) -> bytes:
        try:
            received = await self._loop.sock_recv(self._socket, 65536)
        except ConnectionError as error:
            raise Gone from error
        if not received:
            raise Gone
        self.seen += received
        return received

    async def read_until(self, wanted: bytes, times: int = 1) -> bytes:
        """Everything up to the last of so many; the rest is kept."""
        while self.seen.count(wanted) < times:
            await self.read()
        parts = self.seen.split(wanted, times)
        self.seen = parts.pop()
        return wanted.join(parts) + wanted

    async def read_to_close(self) -> bytes:
        with suppress(Gone):
            while True:
                await self.read()
        return self.seen

    def reset(self) -> None:
        """The next close sends a RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# What clients do


async def leave(port: int) -> None:
    async with Connection(port) as connection:
        await open_one(connection)


async def vanish(port: int) -> None:
    async with Connection(port) as connection:
        await open_one(connection)
        connection.reset()


async def leave_at_once(port: int) -> None:
    async with Connection(port) as connection:
        await connection.request(random.choice(ENDLESS))
        if random.random() < 0.5:
            connection.reset()


async def open_one(connection: Connection) -> None:
    """Read a few events of an endless stream, and be slow about the rest."""
    await connection.request(random.choice(ENDLESS))
    await connection.read_until(b"\n\n", random.randint(1, 3))
    await asyncio.sleep(random.uniform(0, 0.2))


async def upload(port: int) -> None:
    """A body that the app does not read."""
    async with Connection(port) as connection:
        await connection.request(random.choice(("paced", "source", "starlette")), "POST", body=b"x" * 100_000)
        await connection.read_until(b"\n\n", 2)


async def read_whole(port: int) -> None:
    """Several responses on one connection."""
    async with Connection(port) as connection:
        for _ in range(3):
            await connection.request(random.choice(("finite", "source-ends", "lines")), fields=ACCEPT)
            seen = await connection.read_until(LAST_CHUNK)
            assert seen.count(b"data: ") == LINES, seen


async def read_failing(port: int) -> None:
    """Of an app that fails the client gets a whole response all the same."""
    path = random.choice(("fails", "forgets", "source-fails"))
    async with Connection(port) as connection:
        await connection.request(path)
        seen = await connection.read_until(LAST_CHUNK)
        assert (b"event: error\n" in seen) == (path != "forgets"), seen


async def read_limited(port: int) -> None:
    async with Connection(port) as connection:
        await connection.request(random.choice(("limited/silent", "limited/source", "quiet/silent")))
        assert re.search(rb"retry: \d+\n\n", await connection.read_until(LAST_CHUNK))


async def ask_for_the_head(port: int) -> None:
    async with Connection(port) as connection:
        await connection.request(random.choice(("paced", "source", "thread", "plain")), "HEAD", "Connection: close\r\n")
        seen = await connection.read_to_close()
        assert seen.endswith(b"\r\n\r\n"), seen
        assert seen.count(b"\r\n\r\n") == 1, seen


async def ask_for_no_stream(port: int) -> None:
    async with Connection(port) as connection:
        await connection.request("plain")
        await connection.read_until(b"plain")


async def freeze(port: int) -> None:
    """Read nothing, for longer than the server lets its send take."""
    async with Connection(port, receive_buffer=4096) as connection:
        await connection.request("flood")
        await connection.read_until(b"\r\n\r\n")
        await asyncio.sleep(SEND_TIMEOUT * random.uniform(0.5, 2.5))


async def read_slowly(port: int) -> None:
    """So slowly that a send takes long: too long now and then, when the machine is busy."""
    async with Connection(port, receive_buffer=4096) as connection:
        await connection.request("flood")
        with suppress(Gone):
            for _ in range(20):
                await connection.read()
                await asyncio.sleep(0.05)


async def pipeline(port: int) -> None:
    """Another request, or none that could be meant, while a stream is open."""
    async with Connection(port) as connection:
        await connection.request(random.choice(("paced", "source", "limited/paced")))
        await connection.read_until(b"\n\n")
        await connection.send(random.choice((GARBAGE, ANOTHER, b"\r\n" * 100)))
        with suppress(Gone, TimeoutError):  # some servers end the stream of such a client, some read no further
            async with asyncio.timeout(random.uniform(0.1, 1)):
                while True:
                    await connection.read()
        if random.random() < 0.5:
            connection.reset()


async def pipeline_and_wait(port: int) -> None:
    """The next request is answered once the stream has ended."""
    async with Connection(port) as connection:
        await connection.request("limited/paced")
        await connection.read_until(b"\n\n")
        await connection.request("plain", fields="Connection: close\r\n")
        assert re.search(rb"retry: \d+\n\n", await connection.read_until(LAST_CHUNK))
        assert b"plain" in await connection.read_to_close()


async def talk_nonsense(port: int) -> None:
    async with Connection(port) as connection:
        await connection.send(random.choice((GARBAGE, b"GET /paced HTTP/1.1\r\nHo", b"", b"\x16\x03\x01\x02")))
        with suppress(Gone, TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.read()


async def drain(port: int) -> None:
    """Streams of a middleware of their own, that is drained: each is ended whole, and says when to come back."""
    name = f"{next(names)}-{time.monotonic_ns()}"
    async with asyncio.TaskGroup() as group:
        begun = asyncio.Barrier(5)
        for path in ("paced", "source", "starlette", "silent"):
            group.create_task(be_drained(port, f"wave/{name}/{path}", begun))
        await begun.wait()
        late = group.create_task(come_late(port, f"wave/{name}/source"))
        async with Connection(port) as connection:
            await connection.request(f"drain/{name}")
            await connection.read_until(b'{"open": 0}')
            await late
            await connection.request(f"forget/{name}")
            await connection.read_until(b'{"opened": 5}')


async def be_drained(port: int, path: str, begun: asyncio.Barrier) -> None:
    async with Connection(port) as connection:
        await connection.request(path)
        seen = await connection.read_until(b"\n\n")
        await begun.wait()
        assert re.search(rb"retry: \d+\n\n", seen + await connection.read_until(LAST_CHUNK))


async def come_late(port: int, path: str) -> None:
    """Refused, if the drain has begun by then; and ended by it otherwise."""
    async with Connection(port) as connection:
        await connection.request(path, fields=ACCEPT)
        await connection.read_until(LAST_CHUNK)


Doing = Callable[[int], Awaitable[None]]
# How often: what costs a second of waiting may be common, as it costs nobody else anything.
OFTEN: dict[Doing, int] = {
    leave: 6,
    vanish: 6,
    leave_at_once: 6,
    upload: 1,
    read_whole: 4,
    read_failing: 2,
    read_limited: 3,
    ask_for_the_head: 2,
    ask_for_no_stream: 2,
    freeze: 6,
    read_slowly: 1,
    pipeline: 3,
    pipeline_and_wait: 2,
    talk_nonsense: 2,
    drain: 2,
}


async def act(port: int, until: float, often: dict[Doing, int], done: Counter[str]) -> None:
    while time.monotonic() < until:
        (doing,) = random.choices([*often], [*often.values()])
        try:
            async with asyncio.timeout(PATIENCE):
                await doing(port)
        except BaseException as error:
            error.add_note(f"while clients {doing.__name__}")
            raise
        done[doing.__name__] += 1
        await asyncio.sleep(random.uniform(0, 0.1))


async def main(port: int, seconds: float, left_out: list[str]) -> None:
    often = {doing: times for doing, times in OFTEN.items() if doing.__name__ not in left_out}
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(act(port, until, often, done))
    print(json.dumps(done))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
