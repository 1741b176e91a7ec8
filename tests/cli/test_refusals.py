"""Whatever the user got wrong is one line on stderr, with what to do, and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.launch import HERE, Refused, Run, environment

pytestmark = pytest.mark.server

APPS = ("--app-dir", str(HERE))
GOOD = (*APPS, "run_apps:app")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("run_apps", "'run_apps' is not of the form MODULE:APP; write for example run_apps:app"),
        (
            "run_apps.py:app",
            "'run_apps.py:app' is not of the form MODULE:APP; write for example run_apps:app",
        ),
        ("src/api.py", "'src/api.py' is not of the form MODULE:APP; write for example src.api:app"),
        ("run_apps:", "'run_apps:' is not of the form MODULE:APP; write for example run_apps:app"),
        ("a:b:c", "'a:b:c' is not of the form MODULE:APP; write for example mymodule:app"),
        ("absent:app", "no module named 'absent' here or on the Python path; --app-dir DIR names its folder"),
        (
            "absent.api:app",
            "no module named 'absent' here or on the Python path; --app-dir DIR names its folder",
        ),
        ("run_apps:ap", "'run_apps:ap': no attribute 'ap' there; did you mean 'app'?"),
        (
            "run_apps:zzz",
            "'run_apps:zzz': no attribute 'zzz' there; name the variable that holds the ASGI app",
        ),
        (
            "run_apps:text",
            "'run_apps:text' is a str, not an ASGI application: a callable of (scope, receive, send)",
        ),
        (
            "run_apps:make",
            "'run_apps:make' takes (), not (scope, receive, send); if it makes the application, add",
        ),
    ],
)
def test_a_wrong_target_is_named(refused: Refused, target: str, says: str) -> None:
    assert refused(*APPS, target).startswith(says)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise ValueError('bad\\nthing')", "raises ValueError: bad ("),
        ("import nonexistent", "raises ModuleNotFoundError: No module named 'nonexistent' ("),
        ("def app(:", "raises SyntaxError: invalid syntax (broken.py, line 1)"),
        ("raise SystemExit", "raises SystemExit"),
    ],
)
def test_a_module_that_raises_at_import_is_told_with_its_place(
    refused: Refused, tmp_path: Path, source: str, says: str
) -> None:
    (tmp_path / "broken.py").write_text(source)
    line = refused("broken:app")
    assert line.startswith(f"module 'broken' {says}")
    assert "broken.py" in line
    assert line.endswith("`python -c 'import broken'` shows it all")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "def make(db, cache): ...",
            "'mine:make' needs arguments (db, cache); --factory calls it without any",
        ),
        ("def make(): raise OSError('no disk')", "the factory 'mine:make' raises OSError: no disk ("),
        ("def make(): ...", "the factory 'mine:make' returned None, not an ASGI application"),
        (
            "async def make(): ...",
            "the factory 'mine:make' returned a coroutine; a factory cannot be `async def`",
        ),
        ("make = 'text'", "'mine:make' is a str, not a factory; leave --factory out, or name one"),
    ],
)
def test_a_factory_that_cannot_be_called_is_told(refused: Refused, tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    assert refused("--factory", "mine:make").startswith(says)


def test_a_wsgi_application_is_told_what_wraps_it(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("def app(environ, start_response): ...")
    assert "takes (environ, start_response), not (scope, receive, send); if it is a WSGI" in refused("old:app")


def test_an_application_that_is_wrapped_already_takes_no_options(refused: Refused) -> None:
    line = refused(*APPS, "run_apps:noting", "--ping-interval", "3", "--debug")
    assert line == (
        "'run_apps:noting' is an SSEMiddleware already; leave out --ping-interval, --debug, or set it there"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--ping-interval 0", "'0' is not a number of seconds above 0; 'off' switches it off"),
        ("--drain-grace -1", "'-1' is not a number of seconds, 0 or more"),
        ("--drain-grace off", "'off' is not a number of seconds, 0 or more"),
        ("--ping-interval often", "'often' is not a number of seconds above 0"),
        ("--send-timeout nan", "'nan' is not a number of seconds above 0"),
        ("--idle-timeout -1", "'-1' is not a number of seconds above 0"),
        ("--max-duration inf", "'inf' is not a number of seconds above 0"),
        ("--frame lines", "'lines' is not KEY=MODE"),
        ("--frame application/x-ndjson=words", "'application/x-ndjson=words' is not KEY=MODE"),
        ("--frame text/event-stream=lines", "text/event-stream"),
        ("--workers 0", "0 is not in the range x>=1"),
        ("--worker-class gevent", "'gevent' is not one of 'asyncio', 'uvloop', 'trio'"),
        ("--log-level loud", "'loud' is not one of"),
        ("--bind 8000", "--bind 8000: not HOST:PORT (or unix:/path); write for example 127.0.0.1:8000"),
        ("--bind 127.0.0.1:65536", "--bind 127.0.0.1:65536: not HOST:PORT"),
        ("--bind 192.0.2.1:8000", "--bind 192.0.2.1:8000: not an address of this machine"),
        (
            "--bind unix:/absent/socket",
            "--bind unix:/absent/socket: its folder does not exist; make it first",
        ),
        ("--certfile cert.pem", "--certfile cert.pem comes alone; give --keyfile FILE as well"),
        ("--certfile a.pem --keyfile b.pem", "--certfile a.pem: no such file; give the path of a PEM file"),
        ("--app-dir /absent", "--app-dir /absent: no such folder"),
        ("--nonsense", "No such option"),
        ("another:app", "Got unexpected extra argument (another:app); --help lists the options"),
    ],
)
def test_a_bad_option_is_named_with_its_value(refused: Refused, arguments: str, says: str) -> None:
    assert says in refused(*GOOD, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--factory", "--factory needs a target; write for example mymodule:make_app"),
        ("--workers 2", "the demo counts its streams in one process; name a target"),
        ("--reload", "the demo counts its streams in one process; name a target"),
    ],
)
def test_the_demo_refuses_what_it_cannot_be_given(refused: Refused, arguments: str, says: str) -> None:
    assert refused(*arguments.split()).startswith(says)


def test_a_file_that_is_no_certificate_is_told(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("nonsense")
    line = refused(*GOOD, "--certfile", "cert.pem", "--keyfile", "cert.pem")
    assert line.startswith("--certfile cert.pem, --keyfile cert.pem: ")
    assert line.endswith("give a PEM certificate and the key that belongs to it")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_told(refused: Refused, run: Run, workers: str) -> None:
    # With several workers hypercorn by itself would share the port, and take half of the other's connections.
    host, port = run("run_apps:app", "--workers", workers).address
    line = refused(*GOOD, "--bind", f"{host}:{port}", "--workers", workers)
    assert line == f"--bind {host}:{port}: in use by another program; end it, or choose another port"


def test_a_unix_socket_in_use_is_told(refused: Refused, run: Run, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 'socket'}"
    run("run_apps:app", bind=bind)
    assert refused(*GOOD, "--bind", bind) == (
        f"--bind {bind}: in use by another server; end it, or choose another path"
    )


def test_a_file_in_a_unix_sockets_place_is_left_alone(refused: Refused, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("precious")
    assert "a file of that name exists; choose another path" in refused(*GOOD, "--bind", f"unix:{kept}")
    assert kept.read_text() == "precious"


def test_when_one_of_two_addresses_is_in_use_neither_is_served(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused(*GOOD, "--bind", "127.0.0.1:0", "--bind", f"127.0.0.1:{taken.getsockname()[1]}")
    assert "in use" in line


def test_an_application_that_fails_to_start_is_told(refused: Refused) -> None:
    line = refused(*APPS, "run_apps:doomed", "--bind", "127.0.0.1:0")
    assert line.startswith("the application did not start: ")
    assert "no database" in line


@pytest.mark.parametrize(
    ("missing", "arguments", "says"),
    [
        ("click", (), "the command line needs click: install sse_mw[cli]"),
        ("hypercorn", (), "the command line needs hypercorn: install sse_mw[cli]"),
        (
            "uvloop",
            ("--worker-class", "uvloop"),
            "--worker-class uvloop: uvloop is not installed; `python -m pip install uvloop`",
        ),
    ],
)
def test_what_is_not_installed_is_named(tmp_path: Path, missing: str, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    path = os.pathsep.join((str(tmp_path), environment()["PYTHONPATH"]))
    done = subprocess.run(
        [sys.executable, "-m", "sse_mw", "run", *arguments],
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONPATH": path},
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"sse_mw: {says}\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("run", "--help")])
def test_help_ends_well(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sse_mw", *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
