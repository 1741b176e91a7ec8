"""The command line: `python -m benchmarks [--quick] [--rounds N] [MEASURE ...]`, or `--render` alone.

Measures keep their earlier numbers in docs/benchmarks/results.json until they run again.
"""

import argparse
import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import report
from .environment import environment
from .measures import MEASURES
from .reader import IncompleteError, allow_many_sockets
from .servers import SUPPORTED, ServerFailedError

FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"
RESULTS = FOLDER / "results.json"


def main() -> None:
    arguments = parse()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"measures": {}}
    failed = [] if arguments.render else run(arguments, results)
    render(results)
    if failed:
        sys.exit(f"failed, and so as they were before: {', '.join(failed)}")


def run(arguments: argparse.Namespace, results: dict[str, Any]) -> list[str]:
    """Run the measures and keep what each of them gives at once; the names of those that failed."""
    failed = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end with this process
    if SUPPORTED:
        allow_many_sockets()
    for name in arguments.measures or MEASURES:
        try:
            entry = measure(name, arguments)
        except (ServerFailedError, IncompleteError, OSError) as error:
            print(f"{name} failed: {error!r}\n", flush=True)
            failed.append(name)
        else:
            if entry is not None:
                results["measures"][name] = entry
                write(results)
    return failed


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller counts: three minutes in all")
    parser.add_argument("--rounds", type=int, help="instead of each measure's own number")
    parser.add_argument("--render", action="store_true", help="write the page and the plots anew from results.json")
    arguments = parser.parse_args()
    if unknown := set(arguments.measures) - set(MEASURES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    return arguments


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Run one measure, and print each of its tables as it comes."""
    chosen = MEASURES[name]
    if chosen.on_linux_only and not SUPPORTED:
        print(f"{name}: skipped, as it reads /proc and the CPU clocks of processes, which only Linux has\n")
        return None
    settings = chosen.quick if arguments.quick else chosen.full
    if arguments.rounds:
        settings = settings | {"rounds": arguments.rounds}
    print(f"== {chosen.title} ({name}: {settings})\n", flush=True)
    began = time.monotonic()
    tables = []
    for table in chosen.run(**settings):
        tables.append(table.as_json())
        print(report.text(tables[-1]), flush=True)
    print(f"{name} took {time.monotonic() - began:.0f} s\n", flush=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": date, "settings": settings, "environment": environment(), "tables": tables}


def write(results: dict[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def render(results: dict[str, Any]) -> None:
    from .plots import render as render_plots  # matplotlib is slow to import, and a measured process needs none of it

    render_plots(results, FOLDER)
    (FOLDER / "index.md").write_text(report.page(results))
    print(f"see {FOLDER / 'index.md'}")


if __name__ == "__main__":
    main()
