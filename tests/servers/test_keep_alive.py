"""Several streams on one connection, which what reads for the disconnect leaves as the next request needs it."""

import http.client

from support.servers import StartServer

ROUNDS = 20


def test_a_connection_serves_one_source_after_another(server: StartServer) -> None:
    running = server("support.keep_alive:app")
    connection = http.client.HTTPConnection(*running.address, timeout=5)
    for number in range(ROUNDS):
        body = b"x" * (number * 10_000)
        connection.request("POST" if body else "GET", f"/{number}", body=body or None)
        response = connection.getresponse()
        assert response.status == 200
        assert response.read() == b"data: /%d\n\ndata: %d\n\n" % (number, len(body) if number % 2 else 0)
        assert not response.will_close or body, "a body that nobody has read may cost the connection"
    connection.close()
    assert "Traceback" not in running.output()
