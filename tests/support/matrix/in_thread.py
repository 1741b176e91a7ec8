"""uvicorn as a program starts it in a thread: `python -m support.matrix.in_thread PORT APP`."""

import signal
import sys
import threading

import uvicorn


def main(port: int, app: str) -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=port, access_log=False))
    thread = threading.Thread(target=server.run)
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    thread.start()
    told.wait()
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
