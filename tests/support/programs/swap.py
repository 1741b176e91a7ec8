"""The import swap for a package that imports sse-starlette by itself: what it finds by that name is the compat module.

Imported first, before that package.
"""

import sys

import sse_mw.compat.sse_starlette as ours

sys.modules["sse_starlette"] = ours
sys.modules["sse_starlette.sse"] = ours.sse
sys.modules["sse_starlette.event"] = ours.event
