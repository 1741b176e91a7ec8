"""asgiref's bridges between threads, as seen from a source that outlives them.

Where a sync middleware of Django's or a view of Flask's calls an async endpoint, `async_to_sync` leaves an executor in
the context: what the endpoint does with `sync_to_async`, Django's async ORM above all, runs in the thread that waits
for it. That executor is gone as soon as the endpoint has returned, and the source goes on.
"""

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any


def outlive_bridges(context: Context) -> None:
    """Have `sync_to_async` find a thread in `context` when the bridge that the endpoint was called over is gone."""
    asgiref = sys.modules.get("asgiref.sync")
    if asgiref is not None:
        context.run(_replace_executor, asgiref)


def _replace_executor(asgiref: Any) -> None:
    executors = getattr(asgiref.AsyncToSync, "executors", None)
    current = getattr(executors, "current", None)
    if executors is not None and current is not None and not isinstance(current, WhileItLasts):
        executors.current = WhileItLasts(current, asgiref.SyncToAsync)


class WhileItLasts:
    """An executor: the bridge's own while there is one, which is the only one that cannot deadlock before the response
    starts; then the one that asgiref would use without a bridge.
    """

    def __init__(self, current: Any, sync_to_async: Any) -> None:
        self._current = current
        self._sync_to_async = sync_to_async

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        try:
            future: Future[Any] = self._current.submit(function, *args, **kwargs)
        except RuntimeError:
            future = self._without_bridge().submit(function, *args, **kwargs)
        return future

    def _without_bridge(self) -> Any:
        request = self._sync_to_async.thread_sensitive_context.get(None)
        if request is None:
            return self._sync_to_async.single_thread_executor
        executors = self._sync_to_async.context_to_thread_executor
        if request not in executors:
            executors[request] = ThreadPoolExecutor(max_workers=1)  # asgiref shuts it down with the request
        return executors[request]
