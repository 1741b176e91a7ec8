"""Every code block in README.md and docs/ runs; see support/docs.py for how."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.docs import NOX, Documentation, nox_sessions

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

pytestmark = pytest.mark.checkout


def _run(text: str, folder: Path) -> int:
    (folder / "page.md").write_text(text)
    return Documentation(folder / "page.md", ROOT, folder).run()


@pytest.mark.server
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_document_is_true(path: Path, tmp_path: Path) -> None:
    Documentation(path, ROOT, tmp_path).run()


RUN = "import sys; from test_docs import Path, _run; print(_run(Path(sys.argv[1]).read_text(), Path(sys.argv[2])))"


@pytest.mark.server
def test_the_recipes_run_on_sse_starlette_as_they_do_here(tmp_path: Path) -> None:
    """In a process of its own: it leaves channels open, which would be another test's warnings."""
    page = tmp_path / "recipes.md"
    text = (ROOT / "docs/guide/sse-starlette-recipes.md").read_text()
    page.write_text(text.replace("sse_mw.compat.sse_starlette", "sse_starlette"))
    command = [sys.executable, "-c", RUN, str(page), str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 40


def test_the_readme_has_the_two_commands_and_nox_has_their_sessions() -> None:
    sessions = NOX.findall((ROOT / "README.md").read_text())
    assert sessions == ["demo", "tests"]
    assert set(sessions) <= nox_sessions(ROOT)


APP = """
```python
# app.py
async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: one\\n\\n", "more_body": True})
    while (await receive())["type"] == "http.request":
        pass
```

<!--- invisible-code-block: python
assert stream(app) == "data: one\\n\\n"
assert stream(app, until="one").startswith("data")
assert asgi(app).status == 200
--->
"""


def test_a_block_can_be_an_app_that_is_streamed_from(tmp_path: Path) -> None:
    assert _run(APP, tmp_path) == 2


@pytest.mark.server
@pytest.mark.parametrize("command", ["uvicorn app:app --port 8000", "python -m hypercorn app:app"])
def test_a_console_block_can_serve_it_and_look(command: str, tmp_path: Path) -> None:
    text = f"""{APP}
```console
$ {command}
$ curl -N -i http://127.0.0.1:8000/
HTTP/1.1 200 ...
content-type: text/event-stream
...
data: one
```
"""
    assert _run(text, tmp_path) == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nassert 1 == 2, 'sums'\n```", "sums"),
        ("<!--- invisible-code-block: python\nassert False, 'hidden'\n--->", "hidden"),
        ("```cobol\nSTOP RUN\n```", "cobol"),
        ("```\nno language\n```", "marked ''"),
        ("```console\n$ false\n```", "ended with 1"),
        ("```bash\nfalse\n```", "ended with 1"),
        ("```console\n$ echo one\ntwo\n```", "promises:\ntwo"),
        ("```console\necho one\n```", "starts with"),
        ("```console\n$ python -m pip install nox && python -m nox -s dance\n```", "no session 'dance'"),
        ("```console\n$ pip install 'sse_mw[magic]'\n```", "no extra"),
    ],
)
def test_what_is_not_true_fails(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=complaint):
        _run(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "```nginx\nproxy_buffering off;\n```",
        "```{toctree}\nguide/*\n```",
        "```console\n$ echo one two\none ...\n$ pip install 'sse_mw[cli]'\n```",
        "- in a list:\n\n  ```python\n  x = 1\n  assert x\n  ```\n",
    ],
)
def test_what_is_true_passes(text: str, tmp_path: Path) -> None:
    assert _run(text, tmp_path) == 1
