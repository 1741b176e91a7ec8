"""Every task of the project. On a machine with only Python and pip: `python -m pip install nox && python -m
nox -s tests`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# What needs neither sockets nor a browser: enough where not the code but its surroundings differ.
IN_PROCESS = "not server and not browser"
INSTALLED = f"{IN_PROCESS} and not checkout"
WORKERS = ("-n", "auto", "--durations=20", "--durations-min=1.0")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "node_modules", "programs")

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]
# A Python that the machine lacks is skipped, under CI too, and never downloaded.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def demo(session: nox.Session) -> None:
    """The demo page; with arguments, `python -m sse_mw run ARGUMENTS`."""
    session.install(".[cli]")
    session.run("python", "-m", "sse_mw", "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite with branch coverage; then lint, typing, docs, wheel, lowest versions, other Pythons."""
    others = [f"tests-{version}" for version in PYTHONS if version != THIS_PYTHON]
    if not session.posargs:
        for other in ["lint", "typing", "docs", "wheel", "lowest", *others]:
            session.notify(other)
    session.install("-e", ".[cli]", *group("test"), *group("programs"), *group("docs"))
    session.env["COVERAGE_FILE"] = str(ROOT / ".coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *WORKERS, *session.posargs)
    if session.posargs:
        return  # a part of the suite says nothing about coverage, and was asked for alone
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


def tests_on(session: nox.Session) -> None:
    session.install(".[cli]", *group("test"))
    run_installed(session)


def interpreter(version: str) -> str:
    """An interpreter that runs; pyenv puts a shim on the PATH that may not, and the real one elsewhere."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [
        shutil.which(f"python{version}"),
        *sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python"))),
    ]
    return next((path for path in found if path and runs(path)), version)


def runs(path: str) -> bool:
    return subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0


for _version in PYTHONS:
    nox.session(python=interpreter(_version), name=f"tests-{_version}", default=False)(tests_on)


@nox.session
def wheel(session: nox.Session) -> None:
    """The built wheel, tested from a folder where no source tree can be imported by mistake."""
    session.install("build")
    with TemporaryDirectory() as dist:
        session.run("python", "-m", "build", "--wheel", "--outdir", dist, str(ROOT), silent=True)
        (built,) = Path(dist).glob("*.whl")
        session.install(f"{built}[cli]", *group("test"))
    run_installed(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """The lowest versions of what the package itself depends on, as pyproject.toml allows them."""
    session.install("uv")
    options = ("--resolution=lowest-direct", "--extra=cli", "--no-deps", "--no-header", "--no-annotate")
    pins = session.run("uv", "pip", "compile", "--quiet", *options, "pyproject.toml", silent=True)
    # Beside them the test group's own packages, the newest: they are not what is tested.
    session.install(".[cli]", *str(pins).split(), *group("test"))
    run_installed(session)


def run_installed(session: nox.Session) -> None:
    """Run the in-process tests on the installed package, from a folder that holds nothing but them."""
    with TemporaryDirectory() as name:
        shutil.copytree(ROOT / "tests", Path(name, "tests"), ignore=LEFT_BEHIND)
        shutil.copy(ROOT / "pyproject.toml", name)  # pytest's settings
        with session.chdir(name):
            installed = {"SSE_MW_INSTALLED": "1"}
            session.run("pytest", *WORKERS, "-m", INSTALLED, *session.posargs, env=installed)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def typing(session: nox.Session) -> None:
    """mypy --strict and pyright, over the package and its tests."""
    session.install("-e", ".[cli]", *group("typing"))
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in docs/_build/html: warnings are errors, and every link in it and in the Markdown leads somewhere."""
    session.install("-e", ".[cli,httpx,httpx2,starlette]", *group("docs"))  # what the reference shows
    site = ROOT / "docs" / "_build" / "html"
    shutil.rmtree(site.parent, ignore_errors=True)  # a page that is gone must not satisfy a link
    session.run("sphinx-build", "--quiet", "--fail-on-warning", "docs", str(site))
    # Other hosts cannot be asked from CI: tests/test_site.py looks at the form of such links alone.
    pages = ("README.md", "docs/**/*.md", f"{site}/**/*.html")
    session.run("lychee", "--offline", "--include-fragments", "--no-ignore", "--no-progress", *pages)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, or the measures named as arguments; `--quick` takes three minutes."""
    session.install("-e", ".[cli]", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Everything at once for ten minutes, or SOAK_SECONDS, on two servers side by side; the figures are printed."""
    session.install("-e", ".[cli]", *group("test"))
    seconds = {"SOAK_SECONDS": os.environ.get("SOAK_SECONDS", "600")}
    session.run("pytest", "-n", "2", "-rP", "tests/servers/test_soak.py", *session.posargs, env=seconds)
