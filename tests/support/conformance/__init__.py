"""The same endpoints in every framework, for tests/conformance: what `@sse_route` promises has to hold in each.

`endpoints.py` has those that need nothing of their framework, and the journal. Each other module is one framework's:

- `make()` returns its app, without the middleware, with every endpoint of `endpoints.py` and its own (below). It alone
  is imported by the server, and by nothing else.
- `CANNOT` names the tests of tests/conformance that cannot hold there, with the reason; they must fail.
- `ABSENT` names those that make no sense there, with the reason; they are not run.

The client's `Last-Event-ID` is the key under which the journal is kept: `note("what")` takes it from the stream.

Its own endpoints, each under `@sse_route` unless it says otherwise, in the style that the framework's users write:

- GET /parameters/{name}?count=2: yields the name, `count` times; a `count` that is no number is the framework's to
  refuse.
- GET /forbidden: raises the framework's own 403 before its first event, inside the source if it can; /forbidden/plain
  is an ordinary endpoint, not decorated, that raises the same.
- GET /redirect: the framework's own redirect to /elsewhere, raised, or returned by an endpoint that else returns a
  source.
- GET /headers: yields "x". Some middleware or hook of the framework sets `x-framework: yes` on every response, and
  the framework's own means set a cookie `seen=yes` on this one.
- GET /status: yields "x"; the framework is told to answer with 201, as far as it lets an endpoint or a decorator say
  so.
- GET /context: yields "x", then is silent. A resource of the request (a dependency, a context, a middleware) notes
  "released" when it is given back; the source notes "used" in its `finally`, while the resource must still be open.
- GET /background: yields "x", then is silent; GET /background/ends yields "x" and ends. The framework's own background
  task notes "background" (what runs after the response).
- POST /echo/before: reads the request's body, then yields it. POST /echo/inside: yields "ready", then reads it in the
  source.
- GET /lines: under `@sse_route(frame="lines")`, returns the framework's own streaming response of text/plain, in the
  pieces "on", "e\\ntw", "o\\n". GET /chunks: the same under `frame="chunks"`.
- GET /own: under `@sse_route(ping_interval=0.2)`, returns the framework's own streaming response of text/event-stream:
  "data: x\\n\\n", then silence.
- GET /misplaced: `@sse_route` above the framework's decorator.
- GET /elsewhere: an ordinary endpoint, not decorated, that answers "elsewhere".
- GET /openapi.json, where the framework makes one.

An exception that no handler of the app's takes notes "seen" with the name of its type, in whatever place of the
framework an error tracker would listen.
"""
