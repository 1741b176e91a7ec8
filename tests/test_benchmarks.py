"""The benchmarks still run: each kind of measure at its smallest. What they find is no business of a test."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.checkout, pytest.mark.timeout(180)]

SMALLEST = {
    "encode": "rounds=1, seconds=0.001",
    "per_event": "rounds=1, events=50, backends=['asyncio', 'trio']",
    "request": "rounds=1, requests=32",
    "short": "rounds=1, streams=16",
}


@pytest.mark.server
@pytest.mark.parametrize("measure", SMALLEST)
def test_a_measure_gives_a_number_for_this_package_and_for_hand_written_asgi(measure: str) -> None:
    script = (
        f"from benchmarks.measures.{measure} import MEASURE\n"
        f"for table in MEASURE.run({SMALLEST[measure]}):\n"
        f"    print(table.title, sorted(table.series))\n"
        f"    assert all(values for metrics in table.series.values() for values in metrics.values())\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "sse_mw" in ran.stdout or "wrapped" in ran.stdout
