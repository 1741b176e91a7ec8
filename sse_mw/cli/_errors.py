"""The one way in which the command line refuses to run."""


class CannotRun(Exception):
    """What is wrong, the value, and what to do, in one line that ends up on stderr with exit code 2."""


def first_line(error: BaseException) -> str:
    """The error as one line: its type, and the first line of its message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    return f"{name}: {lines[0]}" if lines else name
