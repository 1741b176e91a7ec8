"""Django under ASGI: views, a class-based view, decorators, an async middleware around a sync one, its signal.

The sync middleware has every async view run behind asgiref's bridges, which is the hardest that Django does to one.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any

import anyio
import django  # type: ignore[import-untyped]
from asgiref.sync import markcoroutinefunction
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.core.exceptions import PermissionDenied  # type: ignore[import-untyped]
from django.core.signals import got_request_exception  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import path  # type: ignore[import-untyped]
from django.views import View  # type: ignore[import-untyped]
from django.views.decorators.http import require_GET, require_POST  # type: ignore[import-untyped]

from sse_mw import sse_route
from sse_mw._types import ASGIApp
from support.conformance.endpoints import Tracker, endpoints, note, seen

CANNOT: dict[str, str] = {}
ABSENT = {
    "test_an_invalid_parameter_is_refused_by_the_framework": "validation is the view's own business",
    "test_a_background_task_runs_after_every_ending": "there are none; `finally` and `on_close` serve",
    "test_the_openapi_document_is_still_made": "no OpenAPI",
    "test_a_misplaced_decorator_is_reported": "views are registered in the URLconf, not by a decorator",
}


class Request(HttpRequest):  # type: ignore[misc]
    """What the middleware `Resource` makes of a request."""

    resource: dict[str, bool]


class Parameters(View):  # type: ignore[misc]
    @sse_route
    async def get(self, request: HttpRequest, name: str) -> AsyncIterator[Any]:
        for _ in range(int(str(request.GET["count"]))):
            yield name


@require_GET  # type: ignore[untyped-decorator]
@sse_route
async def forbidden(request: HttpRequest) -> AsyncIterator[Any]:
    raise PermissionDenied
    yield


async def forbidden_plain(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


@sse_route
def redirect(request: HttpRequest) -> Any:
    return HttpResponseRedirect("/elsewhere")


def changed(change: Callable[[HttpResponse], None]) -> Callable[..., Any]:
    """A decorator that changes a view's response, as Django's own do (`vary_on_headers`, say)."""

    def decorate(view: Callable[..., Awaitable[HttpResponse]]) -> Callable[..., Any]:
        @wraps(view)
        async def changing(request: HttpRequest) -> HttpResponse:
            response = await view(request)
            change(response)
            return response

        return changing

    return decorate


@changed(lambda response: response.set_cookie("seen", "yes"))
@sse_route
async def headers(request: HttpRequest) -> AsyncIterator[Any]:
    yield "x"


@changed(lambda response: setattr(response, "status_code", 201))
@sse_route
async def status(request: HttpRequest) -> AsyncIterator[Any]:
    yield "x"


@sse_route
async def context(request: Request) -> AsyncIterator[Any]:
    try:
        yield "x"
        await anyio.sleep(3600)
    finally:
        note("used", open=request.resource["open"])


@require_POST  # type: ignore[untyped-decorator]
@sse_route
async def echo_before(request: HttpRequest) -> Any:
    body = request.body.decode()

    async def source() -> AsyncIterator[str]:
        yield body

    return source()


@sse_route
@require_POST  # type: ignore[untyped-decorator]
async def echo_inside(request: HttpRequest) -> AsyncIterator[Any]:
    yield "ready"
    yield request.body.decode()


async def pieces(*given: str, end: bool = True) -> AsyncIterator[str]:
    for piece in given:
        yield piece
    if not end:
        await anyio.sleep(3600)


async def text(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces("on", "e\ntw", "o\n"), content_type="text/plain")


@sse_route(ping_interval=0.2)
async def own(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces("data: x\n\n", end=False), content_type="text/event-stream")


async def elsewhere(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"elsewhere")


class Resource:
    """Gives its resource back when Django closes the response, which is when it closes uploaded files."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Callable[[Request], Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: Request) -> HttpResponse:
        request.resource = {"open": True}
        response = await self.get_response(request)
        close = response.close

        def close_both() -> None:
            close()
            request.resource["open"] = False
            note("released")

        if request.path == "/context":
            response.close = close_both
        return response


def header(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["x-framework"] = "yes"
        return response

    return middleware


def failed(**_: Any) -> None:
    error = sys.exc_info()[1]
    assert error is not None
    seen(error)


urlpatterns = [
    path("parameters/<name>", Parameters.as_view()),
    path("forbidden", forbidden),
    path("forbidden/plain", forbidden_plain),
    path("redirect", redirect),
    path("headers", headers),
    path("status", status),
    path("context", context),
    path("echo/before", echo_before),
    path("echo/inside", echo_inside),
    path("lines", sse_route(frame="lines")(text)),
    path("chunks", sse_route(frame="chunks")(text)),
    path("own", own),
    path("elsewhere", elsewhere),
]


def make() -> ASGIApp:
    urlpatterns.extend(path(url.strip("/"), view) for url, view in endpoints(parameters=True).items())
    settings.configure(
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[f"{__name__}.Resource", f"{__name__}.header"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="x",
    )
    django.setup()
    got_request_exception.connect(failed)
    return Tracker(get_asgi_application())
