"""Everything that this package raises, in one tree under `SSEError`."""


class SSEError(Exception):
    """The root of the package's own errors: catch it to catch them all."""


class InvalidEvent(SSEError, ValueError):
    """A value that cannot become an event; the message names the field, the value and the remedy.

    Raised where the event is made, so nothing of it has been sent.
    """


class InvalidOption(SSEError, ValueError):
    """An option that cannot be meant; the message names the parameter, the value and the remedy.

    Raised when the middleware is constructed, never while it serves.
    """
