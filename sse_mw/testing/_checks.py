"""Arguments of the test tools that cannot be meant."""

from math import inf

from ..exceptions import InvalidOption


def check_backend(backend: object) -> None:
    """Whether it is one of the two.

    Raises:
        InvalidOption: It is not.
    """
    if backend not in ("asyncio", "trio"):
        raise InvalidOption(f"backend={backend!r:.80} is unknown: give asyncio or trio")


def check_seconds(name: str, value: object) -> None:
    """Whether a duration can be meant.

    Raises:
        InvalidOption: It cannot.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < inf:
        raise InvalidOption(f"{name}={value!r:.80} cannot be meant: give a number of seconds above 0")


def check_count(name: str, value: object, *, minimum: int, unit: str) -> None:
    """Whether a number of things can be meant.

    Raises:
        InvalidOption: It cannot.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidOption(f"{name}={value!r:.80} cannot be meant: give a whole number of {unit} from {minimum} on")
