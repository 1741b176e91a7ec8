"""What `@sse_route` promises, in every framework, on real servers. The names of these tests are the table's rows."""

import statistics
import time

import pytest

from support.conformance.client import Served

EVENTS = (
    b"data: one\ndata: line\n\nevent: load\ndata: two\nid: 2\n\n"
    b'event: order\ndata: {"n":3}\n\ndata: four\n\ndata: [5]\n\n'
)

SOURCES = ["async-generator", "sync-generator", "returned-generator", "returned-async-iterable",
           "awaited-async-iterable", "awaited-list", "receive-stream"]  # fmt: skip


def without_comments(body: bytes) -> bytes:
    return b"".join(block + b"\n\n" for block in body.split(b"\n\n")[:-1] if not block.startswith(b":"))


# Sources


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_source_streams(served: Served, source: str) -> None:
    client = served.read(f"/{source}")
    assert client.status == 200
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert client.headers["cache-control"] == "no-cache, no-transform"
    assert client.headers["x-accel-buffering"] == "no"
    assert "content-length" not in client.headers
    assert without_comments(client.body) == EVENTS
    assert [entry["reason"] for entry in served.wait_for("closed")] == ["completed"]
    assert served.journal("closed")[0]["mode"] == "source"


def test_a_source_without_events_is_an_empty_stream(served: Served) -> None:
    client = served.read("/empty")
    assert (client.status, without_comments(client.body)) == (200, b"")


def test_a_silent_source_opens_within_open_timeout(served: Served) -> None:
    began = time.monotonic()
    with served.open("/silent") as client:
        client.head()
        assert client.status == 200
        client.read_until(b":\n\n")
        assert time.monotonic() - began < 0.4
    assert [entry["reason"] for entry in served.wait_for("closed")] == ["client_left"]


# The framework's conventions


def test_path_and_query_parameters_arrive(served: Served) -> None:
    assert without_comments(served.read("/parameters/otter?count=2").body) == b"data: otter\n\n" * 2


def test_an_invalid_parameter_is_refused_by_the_framework(served: Served) -> None:
    client = served.read("/parameters/otter?count=many")
    assert 400 <= client.status < 500
    assert not client.headers["content-type"].startswith("text/event-stream")
    assert served.journal() == []


def test_a_refusal_before_the_first_event_is_the_frameworks_own(served: Served) -> None:
    client, plain = served.read("/forbidden"), served.read("/forbidden/plain")
    assert (client.status, client.body) == (403, plain.body)
    assert client.headers.get("content-type") == plain.headers.get("content-type")
    assert served.journal("closed") == []


def test_a_redirect_before_the_first_event_is_the_frameworks_own(served: Served) -> None:
    client = served.read("/redirect")
    assert 301 <= client.status <= 308
    assert client.headers["location"].endswith("/elsewhere")


def test_headers_and_cookies_of_the_framework_are_kept(served: Served) -> None:
    client = served.read("/headers")
    assert client.headers["x-framework"] == "yes"
    assert client.headers["set-cookie"].startswith("seen=yes")
    assert without_comments(client.body) == b"data: x\n\n"


def test_the_frameworks_status_is_kept(served: Served) -> None:
    client = served.read("/status")
    assert (client.status, without_comments(client.body)) == (201, b"data: x\n\n")


def test_the_openapi_document_is_still_made(served: Served) -> None:
    client = served.read("/openapi.json")
    assert client.status == 200
    assert b"/parameters/{name}" in client.body
    assert b"count" in client.body


def test_other_endpoints_pass(served: Served) -> None:
    assert served.read("/elsewhere").body == b"elsewhere"


# Context


def test_what_belongs_to_the_request_is_open_while_the_source_runs(served: Served) -> None:
    with served.open("/context") as client:
        client.read_until(b"data: x\n\n")
        assert served.journal("released") == []
    served.wait_for("released")
    entries = [entry for entry in served.journal() if entry["what"] in ("used", "released")]
    assert [entry["what"] for entry in entries] == ["used", "released"]
    assert entries[0]["open"] is True


def test_tokens_scopes_and_spans_may_be_held_across_yields(served: Served) -> None:
    assert without_comments(served.read("/holds").body) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    served.wait_for("held")


def test_a_request_body_may_be_read_before_the_first_event(served: Served) -> None:
    client = served.read("/echo/before", "POST", b"hello " * 20_000)
    assert without_comments(client.body) == b"data: " + b"hello " * 20_000 + b"\n\n"


def test_a_request_body_may_be_read_inside_the_source(served: Served) -> None:
    client = served.read("/echo/inside", "POST", b"hello " * 20_000)
    assert without_comments(client.body) == b"data: ready\n\ndata: " + b"hello " * 20_000 + b"\n\n"


def test_the_last_event_id_reaches_the_source(served: Served) -> None:
    assert without_comments(served.read("/reconnects").body) == f"data: after {served.key}\n\n".encode()


# Endings


def test_a_client_that_leaves_ends_an_idle_source_within_100_ms(served: Served) -> None:
    """The median of several, as the machine may be busy with other tests."""
    took: list[float] = []
    for attempt in range(5):
        mine = served.with_key()
        client = mine.open("/idle")
        client.read_until(b"data: x")
        left = time.monotonic()
        client.close() if attempt % 2 else client.abort()
        took.append(mine.wait_for("finally")[0]["at"] - left)
        assert [entry["reason"] for entry in mine.wait_for("closed")] == ["client_left"]
    assert statistics.median(took) <= 0.1


def test_cleanup_that_awaits_comes_to_its_end_in_the_same_task_and_context(served: Served) -> None:
    with served.open("/idle") as client:
        client.read_until(b"data: x")
    served.wait_for("cleaned")
    assert [entry["same"] for entry in served.journal("finally")] == [True]


def test_a_sync_source_ends_when_its_step_does(served: Served) -> None:
    with served.open("/idle-in-thread") as client:
        client.read_until(b"data: x\n\ndata: x")
    served.wait_for("finally")


def test_a_busy_source_stops_when_its_client_leaves(served: Served) -> None:
    with served.open("/busy") as client:
        client.read_until(b"data: x\n\n" * 1000)
    (entry,) = served.wait_for("finally")
    time.sleep(0.1)
    assert served.journal("finally") == [entry]


def test_head_is_answered_without_starting_the_source(served: Served) -> None:
    client = served.read("/idle", "HEAD")
    assert (client.status, client.body) == (200, b"")
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert served.journal() == []


def test_a_failure_after_the_start_ends_the_stream_and_is_seen_by_the_app(served: Served) -> None:
    client = served.read("/fails")
    assert without_comments(client.body) == b"data: one\n\ndata: two\n\nevent: failed\ndata: sorry\n\n"
    assert [entry["reason"] for entry in served.wait_for("closed")] == ["error"]
    assert [entry["error"] for entry in served.wait_for("seen")] == ["LookupError"]


def test_a_failure_before_the_first_event_is_the_frameworks_own(served: Served) -> None:
    client = served.read("/fails-at-once")
    assert client.status == 500
    assert [entry["error"] for entry in served.wait_for("seen")] == ["LookupError"]
    assert served.journal("closed") == []


def test_what_cannot_be_sent_first_is_the_frameworks_own_error(served: Served) -> None:
    client = served.read("/unsendable")
    assert client.status == 500
    assert [entry["error"] for entry in served.wait_for("seen")] == ["InvalidEvent"]


def test_what_cannot_be_sent_later_ends_the_stream(served: Served) -> None:
    client = served.read("/unsendable-later")
    assert without_comments(client.body) == b"data: x\n\nevent: failed\ndata: sorry\n\n"
    assert [entry["error"] for entry in served.wait_for("seen")] == ["InvalidEvent"]


def test_a_background_task_runs_after_every_ending(served: Served) -> None:
    served.read("/background/ends")
    served.wait_for("background")
    another = served.with_key()
    with another.open("/background") as client:
        client.read_until(b"data: x")
        assert another.journal("background") == []
    another.wait_for("background")


# Options, and responses of the framework's own


def test_a_text_response_becomes_an_event_for_each_line(served: Served) -> None:
    client = served.read("/lines")
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert without_comments(client.body) == b"data: one\n\ndata: two\n\n"


def test_a_text_response_becomes_an_event_for_each_chunk(served: Served) -> None:
    assert without_comments(served.read("/chunks").body) == b"data: on\n\ndata: e\ndata: tw\n\ndata: o\ndata: \n\n"


def test_a_response_that_is_an_event_stream_already_has_the_routes_options(served: Served) -> None:
    with served.open("/own") as client:
        client.read_until(b": ping\n\n", within=2)


def test_a_route_has_options_of_its_own(served: Served) -> None:
    with served.open("/pings") as client:
        client.read_until(b": ping\n\n", within=2)


# Mistakes


def test_a_missing_middleware_is_named(served: Served) -> None:
    with served.open("/idle?bare") as client:
        client.read_end()  # some servers close the connection
    assert client.status in (0, 500)
    served.server.wait_for_output("MiddlewareMissing")
    served.server.wait_for_output("app = SSEMiddleware(app)")


def test_an_endpoint_that_returns_no_source_is_named(served: Served) -> None:
    assert served.read("/not-iterable").status == 500
    assert [entry["error"] for entry in served.wait_for("seen")] == ["InvalidSource"]


def test_a_misplaced_decorator_is_reported(served: Served) -> None:
    served.read("/misplaced")
    served.server.wait_for_output("misplaced stands under @sse_route, but the framework calls the function itself")
