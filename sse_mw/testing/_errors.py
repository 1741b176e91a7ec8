"""What a failing test is told. All are assertion errors, so that test runners show them as failures."""


class StreamTimeout(AssertionError):
    """What was waited for did not come in time; the message says what did, and where the app waits."""


class StreamEnded(AssertionError):
    """The stream ended, or its connection was lost, while something was waited for."""


class Leaked(AssertionError):
    """A request, or the app's lifespan, has left tasks or async generators behind; the message names them."""


class NoEventStream(AssertionError):
    """Events were asked of a response that is no event stream, or whose body is compressed."""


class LifespanFailed(RuntimeError):
    """The app said that its startup or shutdown had failed, or did not say that it had succeeded."""


class UnexpectedMessage(RuntimeError):
    """The app has sent what ASGI does not allow at that point. Raised into the app, as servers do."""
