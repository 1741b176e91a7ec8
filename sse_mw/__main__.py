"""`python -m sse_mw`: the command line, for those who installed the extra `cli`."""

import importlib.util
import sys

EXTRA = ("click", "hypercorn")


def main() -> int:
    """Run the command line and return its exit code; say in one line what is missing, if anything is."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        needs = " and ".join(missing)
        sys.stderr.write(f"sse_mw: the command line needs {needs}: install sse_mw[cli]\n")
        return 2
    # Only now, so that the package itself never needs either of the two.
    from .cli._command import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
