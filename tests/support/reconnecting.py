"""A fleet of clients that do as an EventSource does: each reads its stream, and when that ends waits for as long as
`retry:` has said, and comes back.

    python -m support.reconnecting PORT COUNT

A process of its own, whose descriptors and turns of its event loop are no business of the test's. It says `open` once
all streams are, and when all have come back a line of JSON: for each client when its stream ended, what it was told to
wait (seconds), when it came back (the system's monotonic clock), and what its first and its second stream began with.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass

AT_ONCE = 50
"""Connections opened at the same time, at first: the queue of those not yet accepted is short on some machines."""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
RETRY = re.compile(rb"^retry: (\d+)$", re.MULTILINE)
DATA = re.compile(rb"^data: (.*)$", re.MULTILINE)
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass
class Client:
    port: int
    first: str = ""
    ended_at: float = 0.0
    was_complete: bool = False
    told: float = 0.0
    back_at: float = 0.0
    second: str = ""

    async def open(self, turns: asyncio.Semaphore) -> None:
        async with turns:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
            self._writer.write(REQUEST)
            self._seen = await self._reader.readuntil(b"data: ") + await self._reader.readuntil(b"\n\n")
            self.first = DATA.findall(self._seen)[0].decode()

    async def come_back(self) -> None:
        self._seen += await self._reader.read()
        self.ended_at = time.monotonic()
        self.was_complete = self._seen.endswith(LAST_CHUNK)
        self._writer.close()
        self.told = int(RETRY.findall(self._seen)[-1]) / 1000
        await asyncio.sleep(self.told)
        self.back_at = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(REQUEST)
        seen = await reader.readuntil(b"data: ") + await reader.readuntil(b"\n\n")
        self.second = DATA.findall(seen)[0].decode()
        writer.close()


async def main(port: int, count: int) -> None:
    clients = [Client(port) for _ in range(count)]
    turns = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(client.open(turns) for client in clients))
    print("open", flush=True)
    await asyncio.gather(*(client.come_back() for client in clients))
    print(json.dumps([asdict(client) for client in clients]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
