"""The command line (extra `cli`): `python -m sse_mw run` serves any ASGI app, wrapped."""
