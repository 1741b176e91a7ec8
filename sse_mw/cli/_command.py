"""`python -m sse_mw run`: read the command line, check everything, then serve.

The rules: whatever the user got wrong ends in one line on stderr (what is wrong, the value, what to do) and
exit code 2, before a single connection is accepted. A signal ends it with exit code 0.
"""

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from ._errors import CannotRun
from ._listen import listen, unlink, url
from ._options import frames, grace, middleware_options, seconds
from ._settings import Settings

DEFAULT_BIND = "127.0.0.1:8000"
WORKER_CLASSES = ("asyncio", "uvloop", "trio")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

duration = partial(click.option, callback=seconds, metavar="SECONDS")


def main(args: list[str] | None = None) -> int:
    """Run the command line; every error is one line."""
    try:
        return command_line.main(args, prog_name="python -m sse_mw", standalone_mode=False) or 0
    except click.UsageError as error:
        return _refuse(f"{error.format_message().rstrip('.')}; --help lists the options")
    except click.ClickException as error:
        return _refuse(error.format_message())
    except CannotRun as error:
        return _refuse(str(error))
    except (click.Abort, KeyboardInterrupt):
        return 130  # a second Ctrl-C, or one before anything was served


def _refuse(problem: str) -> int:
    click.echo(f"sse_mw: {' '.join(problem.split())}", err=True)
    return 2


@click.group(invoke_without_command=True)
@click.pass_context
def command_line(context: click.Context) -> None:
    """Server-Sent Events for any ASGI app."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command_line.command()
@click.argument("target", required=False, metavar="[MODULE:APP]")
@click.option("--factory", is_flag=True, help="MODULE:APP is a function that makes the application.")
@click.option("--app-dir", metavar="DIR", default=".", help="The folder to import from.  [default: this one]")
@click.option(
    "--bind",
    "binds",
    metavar="HOST:PORT",
    multiple=True,
    default=(DEFAULT_BIND,),
    show_default=True,
    help="An address to listen on, or unix:/path; may be repeated.",
)
@click.option(
    "--frame",
    callback=frames,
    metavar="KEY=MODE",
    multiple=True,
    help="Upgrade ordinary responses: a media type or /path pattern, and lines or chunks; may be repeated.",
)
@duration("--ping-interval", help="Ping after so much silence, or off.  [default: 15]")
@duration("--send-timeout", help="How long a client may not read, or off.  [default: 30]")
@duration("--idle-timeout", help="End a stream whose app is silent for so long.")
@duration("--max-duration", help="End every stream after so long.")
@click.option(
    "--drain-grace",
    callback=grace,
    metavar="SECONDS",
    help="How long open streams have when it is told to end.  [default: 5]",
)
@click.option("--debug", is_flag=True, help="Check the app's events, and name what is wrong with them.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, metavar="N", help="Processes that serve, each on its own."
)
@click.option("--worker-class", type=click.Choice(WORKER_CLASSES), default="asyncio", show_default=True)
@click.option("--certfile", metavar="FILE", help="A TLS certificate (PEM): HTTPS, and with it HTTP/2.")
@click.option("--keyfile", metavar="FILE", help="The certificate's key (PEM).")
@click.option("--reload", is_flag=True, help="Start anew when the code changes; for development.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="warning", show_default=True)
def run(**given: Any) -> int:
    """Serve an ASGI app, wrapped in SSEMiddleware; without one, the demo."""
    _check(given)
    # Absolute and first: worker processes inherit the path, and `--app-dir` wins over what is installed.
    sys.path.insert(0, str(Path(given["app_dir"]).resolve()))
    settings = Settings(
        target=given["target"],
        factory=given["factory"],
        reload=given["reload"],
        log_level=given["log_level"],
        options=middleware_options(given),
    )
    return _serve(settings, given)


def _check(given: dict[str, Any]) -> None:
    """What the options say together, and what of this machine they need."""
    if given["target"] is None:
        _check_demo(given)
    if not Path(given["app_dir"]).is_dir():
        raise CannotRun(f"--app-dir {given['app_dir']}: no such folder; name the one that holds the module")
    if given["worker_class"] != "asyncio" and importlib.util.find_spec(given["worker_class"]) is None:
        name = given["worker_class"]
        raise CannotRun(f"--worker-class {name}: {name} is not installed; `python -m pip install {name}`")
    _check_certificate(given["certfile"], given["keyfile"])


def _check_demo(given: dict[str, Any]) -> None:
    if given["factory"]:
        raise CannotRun("--factory needs a target; write for example mymodule:make_app")
    if given["workers"] > 1 or given["reload"]:
        raise CannotRun(
            "the demo counts its streams in one process; name a target, or leave out --workers and --reload"
        )


def _check_certificate(certfile: str | None, keyfile: str | None) -> None:
    if (certfile is None) != (keyfile is None):
        given, missing = ("--certfile", "--keyfile") if keyfile is None else ("--keyfile", "--certfile")
        raise CannotRun(f"{given} {certfile or keyfile} comes alone; give {missing} FILE as well")
    for option, path in (("--certfile", certfile), ("--keyfile", keyfile)):
        if path is not None and not Path(path).is_file():
            raise CannotRun(f"{option} {path}: no such file; give the path of a PEM file")


def _serve(settings: Settings, given: dict[str, Any]) -> int:
    from . import _serve as server  # hypercorn takes a moment to import, which `--help` need not wait for

    config = server.configure(
        **{name: given[name] for name in ("worker_class", "workers", "reload", "log_level", "certfile", "keyfile")}
    )
    # With workers, too, the parent builds the application: a wrong target is one line, not one per worker.
    app = server.build(settings)
    server.set_patience(config, app)
    sockets = listen(given["binds"])
    urls = " and ".join(url(listener, tls=config.ssl_enabled) for listener in sockets)
    line = f"sse_mw: running on {urls}: {settings.target or 'the demo'} (Ctrl-C ends it)"
    server.adopt(config, sockets)
    try:
        if given["workers"] == 1 and not given["reload"]:
            return server.serve_here(app, config, lambda: click.echo(line))
        click.echo(line)  # true already: what connects now waits in the queue for the first worker
        return server.serve_workers(settings, config)
    finally:
        unlink(given["binds"])
