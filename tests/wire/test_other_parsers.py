"""The same corpus through three parsers that nobody here wrote.

Where one of them departs from the standard, `DEVIATIONS` says what it sees instead, and why. That is asserted
too: an entry that no longer holds fails.
"""

import base64
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import httpx_sse
import pytest

from support.browser import CHROMIUM, CHROMIUM_OPTIONS
from wire.cases import CASES, Case
from wire.splits import singly


class Deviation(NamedTuple):
    events: Sequence[tuple[str, str, str]]
    reason: str


NO_DATA = "dispatches a block without data too, where any other field is set"
HTTPX_SSE = {
    "a name without data": Deviation([("tick", "", "")], NO_DATA),
    "id alone": Deviation([("message", "", "7")], NO_DATA),
    "retry alone": Deviation([("message", "", "")], NO_DATA),
    "the greatest retry": Deviation([("message", "", "")], NO_DATA),
    "a name does not outlive its block": Deviation([("a", "", ""), ("message", "b", "")], NO_DATA),
    "an id-only block moves the cursor": Deviation([("message", "", "1"), ("message", "a", "1")], NO_DATA),
    "retry with leading zeros": Deviation([("message", "", "")], NO_DATA),
    "retry that is not digits": Deviation([("message", "", "")], NO_DATA),
    "retry with other digits": Deviation([("message", "", "")], NO_DATA),
    "empty retry": Deviation([("message", "", "")], NO_DATA),
    "leading BOM": Deviation([], "does not strip a BOM, so the first line is an unknown field"),
}
OWN_ID = "knows the ID of a block that it dispatches, but keeps none from one without data"
EVENTSOURCE_PARSER = {
    "id alone": Deviation([], OWN_ID),
    "an id-only block moves the cursor": Deviation([("message", "a", "")], OWN_ID),
    "CR": Deviation([], "holds a CR at the end of the input back, as it might be half a CRLF"),
}


def expected(case: Case, deviations: dict[str, Deviation]) -> list[tuple[str, str, str]]:
    return [*(deviations[case.name].events if case.name in deviations else case.events)]


@pytest.mark.parametrize("deviations", [HTTPX_SSE, EVENTSOURCE_PARSER], ids=["httpx-sse", "eventsource-parser"])
def test_every_deviation_is_of_a_case_in_the_table(deviations: dict[str, Deviation]) -> None:
    assert set(deviations) <= {case.name for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES)


def whole(wire: bytes) -> list[bytes]:
    return [wire]


Cut = Callable[[bytes], list[bytes]]
BOTH_CUTS = pytest.mark.parametrize("cut", [whole, singly], ids=["whole", "by bytes"])


@BOTH_CUTS
@pytest.mark.parametrize("case", CASES, ids=str)
def test_httpx_sse_sees_what_the_table_says(case: Case, cut: Cut) -> None:
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=iter(cut(case.wire)))
    seen = [(event.event, event.data, event.id) for event in httpx_sse.EventSource(response).iter_sse()]
    assert seen == expected(case, HTTPX_SSE)


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("node")
    for file in (Path(__file__).parent / "node").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
        cwd=folder,
        check=True,
        timeout=50,
    )
    return folder


@BOTH_CUTS
def test_eventsource_parser_sees_what_the_table_says(node_folder: Path, cut: Cut) -> None:
    streams = [[base64.b64encode(chunk).decode() for chunk in cut(case.wire)] for case in CASES]
    node = subprocess.run(
        ["node", "parse.mjs"],
        cwd=node_folder,
        input=json.dumps(streams),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=30,
    )
    for case, answer in zip(CASES, json.loads(node.stdout), strict=True):
        assert [tuple(event) for event in answer["events"]] == expected(case, EVENTSOURCE_PARSER), case.name
        retry = None if answer["retry"] is None else min(float(answer["retry"]), 2.0**63)
        assert retry == (None if case.retry is None else float(case.retry)), case.name
        if case.name not in EVENTSOURCE_PARSER:
            assert answer["lastEventId"] == case.last_event_id, case.name


class Streams(ThreadingHTTPServer):
    """Serves /, /whole/N, /bytes/N (the case's bytes in one write, or one by one) and /cursor/N.

    /cursor/N ends with the case's bytes, after a `retry:` that makes the browser come back at once; the
    Last-Event-ID that it then sends is kept in `cursors`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cursors: dict[int, str] = {}
        self.visited: set[int] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Streams  # pyright: ignore[reportIncompatibleVariableOverride]  # typeshed's is any server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        _, kind, *rest = self.path.split("/")
        if not rest:
            self._respond("text/html", [b"<!doctype html><title>streams</title>"] if not kind else [])
            return
        number = int(rest[0])
        wire = CASES[number].wire
        if kind == "cursor":
            self._cursor(number, wire)
        else:
            self._respond("text/event-stream", singly(wire) if kind == "bytes" else [wire])

    def _cursor(self, number: int, wire: bytes) -> None:
        if number not in self.server.visited:
            self.server.visited.add(number)
            self._respond("text/event-stream", [b"retry: 1\n\n" + wire])
            return
        sent = self.headers.get("Last-Event-ID", "")
        self.server.cursors[number] = sent.encode("latin-1").decode()
        self.send_response(204)  # "HTTP 204 No Content: stop reconnecting"
        self.end_headers()

    def _respond(self, content_type: str, chunks: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk)


SCRIPT = """
async (streams) => Promise.all(streams.map(([url, types, untilGone]) => new Promise((resolve) => {
  const source = new EventSource(url)
  const seen = []
  for (const type of types)
    source.addEventListener(type, (event) => seen.push([event.type, event.data, event.lastEventId]))
  source.onerror = () => {
    if (untilGone && source.readyState !== EventSource.CLOSED) return
    source.close()
    resolve(seen)
  }
})))
"""
MOVES_CURSOR = [
    number for number, case in enumerate(CASES) if b"id" in case.wire and case.retry is None
]  # a retry in the stream itself would delay the return


def ask_chromium(streams: Streams) -> dict[str, list[Any]]:
    from playwright.sync_api import sync_playwright

    def types(case: Case) -> list[str]:
        return sorted({"message", *(event.event for event in case.events)})

    numbers = range(len(CASES))
    wanted: dict[str, list[tuple[str, list[str], bool]]] = {
        "whole": [(f"/whole/{number}", types(CASES[number]), False) for number in numbers],
        "bytes": [(f"/bytes/{number}", types(CASES[number]), False) for number in numbers],
        "cursor": [(f"/cursor/{number}", [], True) for number in MOVES_CURSOR],
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        try:
            page = browser.new_page()
            page.set_default_timeout(20_000)
            page.goto(streams.url)
            return {kind: page.evaluate(SCRIPT, arguments) for kind, arguments in wanted.items()}
        finally:
            browser.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[tuple[dict[str, list[Any]], dict[int, str]]]:
    if not Path(CHROMIUM).exists():
        pytest.skip("needs chromium")
    streams = Streams()
    threading.Thread(target=streams.serve_forever, daemon=True).start()
    # In a thread of its own: Playwright's synchronous API allows one instance for each.
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(ask_chromium, streams).result(50)
    yield answers, streams.cursors
    streams.shutdown()
    streams.server_close()


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["whole", "bytes"])
@pytest.mark.parametrize("number", range(len(CASES)), ids=map(str, CASES))
def test_chromium_sees_what_the_table_says(
    chromium: tuple[dict[str, list[Any]], dict[int, str]], kind: str, number: int
) -> None:
    seen = [tuple(event) for event in chromium[0][kind][number]]
    assert seen == [*CASES[number].events]


@pytest.mark.browser
@pytest.mark.parametrize("number", MOVES_CURSOR, ids=[CASES[number].name for number in MOVES_CURSOR])
def test_chromium_comes_back_with_the_cursor_of_the_table(
    chromium: tuple[dict[str, list[Any]], dict[int, str]], number: int
) -> None:
    assert chromium[1][number] == CASES[number].last_event_id
