"""The names of what is measured, and where its apps are."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True, slots=True)
class Variant:
    """An app, as "module:attribute" below `benchmarks.apps`, and the package that it cannot do without."""

    name: str
    app: str
    needs: str = "sse_mw"
    on_trio: bool = True

    @property
    def target(self) -> str:
        return f"benchmarks.apps.{self.app}"

    def load(self) -> Any:
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


BARE = Variant("bare ASGI", "raw:bare")
PINGING = Variant("bare, pings by hand", "raw:pinging")
GENERATOR = Variant("bare generator", "raw:generator")
WRAPPED = Variant("bare, wrapped", "raw:wrapped")
WRAPPED_UNCOALESCED = Variant("bare, wrapped, no coalescing", "raw:wrapped_uncoalesced")
ROUTE = Variant("@sse_route", "raw:route")
ROUTE_UNCOALESCED = Variant("@sse_route, no coalescing", "raw:route_uncoalesced")
PLAIN = Variant("bare ASGI", "raw:plain")
PLAIN_WRAPPED = Variant("bare, wrapped", "raw:plain_wrapped")
STARLETTE = Variant("Starlette", "on_starlette:bare", "starlette")
STARLETTE_WRAPPED = Variant("Starlette, wrapped", "on_starlette:wrapped", "starlette")
STARLETTE_UNCOALESCED = Variant("Starlette, wrapped, no coalescing", "on_starlette:wrapped_uncoalesced", "starlette")
STARLETTE_ROUTE = Variant("@sse_route on Starlette", "on_starlette:route", "starlette")
SSE_STARLETTE = Variant("sse-starlette", "on_sse_starlette:app", "sse_starlette")
COMPAT = Variant("compat.sse_starlette", "on_compat:app", "starlette")
COMPAT_WRAPPED = Variant("compat.sse_starlette, wrapped", "on_compat:wrapped", "starlette")
FASTAPI = Variant("fastapi.sse", "on_fastapi:app", "fastapi.sse")
LITESTAR = Variant("Litestar", "on_litestar:app", "litestar")
QUART = Variant("Quart", "on_quart:app", "quart", on_trio=False)
AIOHTTP = Variant("aiohttp-sse", "on_aiohttp:app", "aiohttp_sse")
"""Not ASGI: it has a server of its own."""

OURS = [WRAPPED, ROUTE, STARLETTE_WRAPPED, STARLETTE_ROUTE, COMPAT, COMPAT_WRAPPED]
PEERS = [STARLETTE, SSE_STARLETTE, FASTAPI, LITESTAR, QUART]
ASGI = [
    BARE, WRAPPED, ROUTE, STARLETTE, STARLETTE_WRAPPED, STARLETTE_ROUTE, COMPAT, COMPAT_WRAPPED, SSE_STARLETTE, FASTAPI,
    LITESTAR, QUART,
]  # fmt: skip
UNCOALESCED = [WRAPPED_UNCOALESCED, ROUTE_UNCOALESCED, STARLETTE_UNCOALESCED]
STREAMS = [
    BARE, WRAPPED, ROUTE, STARLETTE, STARLETTE_WRAPPED, STARLETTE_ROUTE, COMPAT, COMPAT_WRAPPED, SSE_STARLETTE, FASTAPI,
]  # fmt: skip


def available(variants: list[Variant]) -> list[Variant]:
    """Those whose package is installed; what is left out is said."""
    return [variant for variant in variants if _is_available(variant)]


@cache
def _is_available(variant: Variant) -> bool:
    if variant in UNCOALESCED:
        from .apps.settings import COALESCES

        return COALESCES
    root = variant.needs.partition(".")[0]
    if find_spec(root) is not None and find_spec(variant.needs) is not None:
        return True
    print(f"left out: {variant.name}, as {variant.needs} is not installed")
    return False
