"""Runs the code blocks of one Markdown document, in order, as a reader would.

- ```python: executed; a document's blocks share one namespace, with `stream` and `asgi` (below) in it. A
  block whose first line is `# NAME.py` is also written to that file in the document's own folder, for shell
  lines to use.
- `<!--- invisible-code-block: python … --->`: executed and not shown, to assert what the visible block does.
- ```console, ```bash, ```sh: every line is executed in that folder (in console blocks the lines after `$ `;
  what stands below a command is output that it must show, where `...` stands for anything). A line that
  starts a server runs until the document's end, on a free port that replaces the document's own in every
  later line. curl has `CURL_SECONDS`, since streams do not end. `pip install` of this project is compared
  with its pyproject.toml, the README's nox commands with noxfile.py.
- PROSE fences are not run, nor the site's directives, ```{name}. An unknown language is an error.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import anyio
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.lexers import LexerCollection
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer

from sse_mw._types import ASGIApp
from sse_mw.testing import connect, virtual_time
from support.servers import start_process

SHELLS = {"console", "bash", "sh", "shell"}
PROSE = {
    "text",
    "nginx",
    "toml",
    "json",
    "javascript",
    "js",
    "html",
    "http",
    "yaml",
    "ini",
    "diff",
    "mermaid",
}
SHOWN = {"language": "language", "source": "source"}
HIDDEN = {"arguments": "language", "source": "source"}
CURL_SECONDS = 3
CURL_TIMED_OUT = 28
COMMAND_SECONDS = 30
FILE_NAME = re.compile(r"# (\w+\.py)\b")
NOX = re.compile(r"python -m pip install nox && python -m nox -s (\S+)")
PIP_INSTALL = re.compile(r"(?:python -m )?pip install '?\"?([\w-]+)(?:\[([\w,-]+)\])?'?\"?")
SERVERS = re.compile(r"(?:python -m )?(uvicorn|hypercorn|sse_mw run)\b")
URL = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+")


@dataclass(frozen=True)
class Answer:
    """What a client has got, by the time it left."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def stream(app: ASGIApp, path: str = "/", *, until: str | None = None, seconds: float = 60.0, **request: Any) -> str:
    """What a client that opens `path` reads from the app, on virtual time: all of it, or as far as `until`,
    or what came in so many seconds; then the client leaves. `body=b"…"` and what `Client.connect` takes make
    other requests.
    """
    return asgi(app, path, until=until, seconds=seconds, **request).body.decode()


@virtual_time
async def asgi(
    app: ASGIApp, path: str = "/", *, until: str | None = None, seconds: float = 60.0, body: bytes = b"", **request: Any
) -> Answer:
    """As `stream`, but with the status and the headers."""
    headers = {"accept": "*/*"} | request.pop("headers", {})
    path = "?".join(filter(None, [path, request.pop("query", "")]))
    method = request.pop("method", "POST" if body else "GET")
    asked: dict[str, Any] = {"method": method, "headers": headers, "content": body, **request}
    async with connect(app, path, lifespan=False, **asked) as stream:
        with anyio.move_on_after(seconds):
            if until is None:
                await stream.wait_closed(within=2 * seconds)
            else:
                await stream.wait_for_bytes(until.encode())
        assert stream.error is None or stream.closed_by  # what ends a stream is looked at here, and so not raised
    return Answer(stream.status, {name.lower(): value for name, value in stream.headers.raw}, stream.raw)


class Documentation:
    """One document, and the folder and servers that its examples use."""

    def __init__(self, path: Path, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._python = PythonEvaluator()
        self._servers = ExitStack()
        self._address: str | None = None
        self._document = Document.parse(str(path), self._regions)
        self._document.namespace.update(stream=stream, asgi=asgi, __name__=path.stem)

    def run(self) -> int:
        """Run every example; how many there were."""
        count = 0
        with self._servers, _importable(self._folder):
            for count, example in enumerate(self._document.examples(), 1):  # noqa: B007
                example.evaluate()
        return count

    def _regions(self, document: Document) -> Iterable[Region]:
        lexers = LexerCollection(
            [
                FencedCodeBlockLexer(r"[^\n]*", mapping=SHOWN),
                DirectiveInHTMLCommentLexer(r"invisible-code(-block)?", "python", mapping=HIDDEN),
            ]
        )
        for region in lexers(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = self._evaluate
            yield region

    def _evaluate(self, example: Example) -> None:
        language = str(example.region.lexemes["language"]).strip()
        if language == "python":
            self._run_python(example)
        elif language in SHELLS:
            for command, output in _commands(language, str(example.parsed)):
                self._run_command(command, output)
        elif language not in PROSE and not language.startswith("{"):
            known = ", ".join(sorted({"python"} | SHELLS | PROSE))
            raise AssertionError(f"{example.path}:{example.line}: a block is marked {language!r}; known are {known}")

    def _run_python(self, example: Example) -> None:
        named = FILE_NAME.match(example.parsed)
        if named:
            (self._folder / named[1]).write_text(example.parsed)
        ast.parse(example.parsed)
        self._python(example)

    def _run_command(self, command: str, output: str) -> None:
        if nox := NOX.fullmatch(command):
            assert nox[1] in nox_sessions(self._root), f"noxfile.py has no session {nox[1]!r}"
        elif pip := PIP_INSTALL.fullmatch(command):
            self._check_install(pip[1], pip[2])
        elif SERVERS.match(command):
            self._serve(command)
        else:
            self._execute(command, output)

    def _check_install(self, name: str, extras: str | None) -> None:
        project = tomllib.loads((self._root / "pyproject.toml").read_text())["project"]
        if name.replace("-", "_") == project["name"]:
            unknown = set(filter(None, (extras or "").split(","))) - set(project["optional-dependencies"])
            assert not unknown, f"pyproject.toml has no extra {unknown}"

    def _serve(self, command: str) -> None:
        words = shlex.split(command)
        words = words[2:] if words[:2] == ["python", "-m"] else words
        bind = ["--port=0"] if words[0] == "uvicorn" else ["--bind=127.0.0.1:0"]
        log = self._folder / "server.log"
        path = os.pathsep.join(filter(None, [str(self._folder), os.environ.get("PYTHONPATH")]))
        server = start_process(command, [sys.executable, "-m", *words, *bind], log, {"PYTHONPATH": path})
        self._servers.callback(server.stop)
        self._address = server.url

    def _execute(self, command: str, output: str) -> None:
        if self._address:
            command = URL.sub(self._address, command)
        streams = command.startswith("curl ")
        if streams:
            command = command.replace("curl ", f"curl --silent --show-error --max-time {CURL_SECONDS} ", 1)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        shown = run.stdout + run.stderr
        fine = run.returncode == 0 or (streams and run.returncode == CURL_TIMED_OUT and run.stdout)
        assert fine, f"$ {command}\nended with {run.returncode}:\n{shown}"
        assert _shows(shown, output), f"$ {command}\nshowed:\n{shown}\nwhere the document promises:\n{output}"


@contextmanager
def _importable(folder: Path) -> Generator[None]:
    """What a document's files are called, the others may import."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in [*sys.modules.items()]:
            if (getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def nox_sessions(root: Path) -> set[str]:
    """The names of the noxfile's plain sessions, without running it."""
    tree = ast.parse((root / "noxfile.py").read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if any("session" in ast.unparse(d) for d in node.decorator_list)}


def _commands(language: str, source: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown below it; a backslash continues a line."""
    lines = source.replace("\\\n", " ").splitlines()
    if language != "console":
        yield from ((line, "") for line in lines if line.strip() and not line.lstrip().startswith("#"))
        return
    assert lines, "a console block without a command"
    assert lines[0].startswith("$ "), f"a console block starts with `$ `, not with {lines[0]!r}"
    for block in re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)[1:]:
        command, _, output = block.partition("\n")
        yield command.strip(), output


def _shows(shown: str, promised: str) -> bool:
    """Whether the promised lines appear, the first wherever it likes, each other right below, `...` skipping
    any text.
    """
    if not promised.strip():
        return True
    escaped = re.sub(r"([\[\]*?])", r"[\1]", promised.strip())
    return fnmatchcase(shown.replace("\r\n", "\n"), f"*{escaped.replace('...', '*')}*")
