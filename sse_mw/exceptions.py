"""Everything that this package raises, in one tree under `SSEError`."""


class SSEError(Exception):
    """The root of the package's own errors: catch it to catch them all."""


class InvalidEvent(SSEError, ValueError):
    """A value that cannot become an event; the message names the field, the value and the remedy.

    Raised where the event is made, so nothing of it has been sent.
    """


class InvalidOption(SSEError, ValueError):
    """An option that cannot be meant; the message names the parameter, the value and the remedy.

    Raised when the middleware is constructed or a route is decorated, never while they serve.
    """


class InvalidSource(SSEError, TypeError):
    """An endpoint under `@sse_route` gives nothing that events can come from; the message names it and the remedy.

    Raised where the decorator is applied if that shows already there, else where the endpoint is called, so that the
    framework's own error handling sees it and nothing has been sent.
    """


class MiddlewareMissing(SSEError, RuntimeError):
    """There is no `SSEMiddleware` around what was called: wrap the app, `app = SSEMiddleware(app)`.

    Raised where an endpoint under `@sse_route`, or `current_stream`, is called.
    """
