"""Several streams on one connection, which what reads for the disconnect leaves as the next request needs it."""

import http.client
from contextlib import closing

from support.servers import StartServer

ROUNDS = 20


def test_a_connection_serves_one_source_after_another(server: StartServer) -> None:
    running = server("support.keep_alive:app")
    with closing(http.client.HTTPConnection(*running.address, timeout=5)) as connection:
        for number in range(ROUNDS):
            # A body that nobody has read would cost the connection, on some servers.
            body = b"x" * (number * 10_000) if number % 2 else b""
            connection.request("POST" if body else "GET", f"/{number}", body=body or None)
            response = connection.getresponse()
            assert response.status == 200
            events = response.read().removeprefix(b":\n\n")
            assert events == b"data: /%d\n\ndata: %d\n\n" % (number, len(body))
            assert not response.will_close
    assert "Traceback" not in running.output()
