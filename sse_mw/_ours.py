"""What we ourselves put into a stream, with LF line ends: its opening, pings, and when to come back."""

import logging
import random

from ._options import Options, pad, ping_bytes
from .exceptions import InvalidOption

logger = logging.getLogger("sse_mw")

COMMENT = b":\n\n"
RETRY = 3000
"""Milliseconds that browsers wait by default, which the spread of a farewell is laid around."""


def opening(options: Options) -> bytes:
    """The first bytes of a stream that has a `retry`, padding, or an app that says nothing at first."""
    return pad(options.padding) + (COMMENT if options.retry is None else b"retry: %d\n\n" % options.retry)


def ping(options: Options) -> bytes:
    """One ping. A `ping_event` function that fails is named, and a comment goes out in place of what it should give."""
    if options.ping is not None:
        return options.ping
    try:
        return ping_bytes(options.ping_event(), options.padding)  # type: ignore[operator, misc]
    except InvalidOption as error:
        logger.error("%s", error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        logger.exception("ping_event failed; a comment was sent.")
    return ping_bytes(None, options.padding)


def farewell(options: Options) -> bytes:
    """When to reconnect."""
    return b"retry: %d\n\n" % spread(options)


def spread(options: Options) -> int:
    """Milliseconds until a client is to come back, spread so that a fleet does not come back as one."""
    retry = RETRY if options.retry is None else options.retry
    return round(retry * random.uniform(0.5, 1.5))
