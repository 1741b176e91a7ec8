"""How an event stream is described in an OpenAPI document: `event_stream()`, for any framework that makes one."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

__all__ = ["event_stream"]

MEDIA_TYPE = "text/event-stream"


def event_stream(schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a response whose body is an event stream: what to put under its `content`.

    OpenAPI 3.2 calls a body that is a row of items, one after another, a sequential media type, and `text/event-stream`
    is one. `itemSchema` in its Media Type Object is the schema of each single item, where `schema` would be that of the
    whole body. An item is an event as a client has it after parsing: an object of its fields, lines of data put
    together, comments and unknown fields gone; `retry` is a number, all others are strings.

    Tools that know OpenAPI 3.1 at most pass `itemSchema` over, and still learn the media type.

    Args:
        schema: The JSON Schema of what is in an event's data, which then is JSON: `Model.model_json_schema()` of a
            pydantic model, say. Data is a string all the same, so the schema stands in its `contentSchema`. References
            in it count from the root of the OpenAPI document: a schema that leans on others needs them among the
            document's components. `None`: the data is any text.

    Returns:
        `{"text/event-stream": {"itemSchema": {...}}}`, of plain dictionaries, new with every call.

    Raises:
        TypeError: The schema is no mapping: a model itself, perhaps.
    """
    data: dict[str, Any] = {"type": "string"}
    if schema is not None:
        if not isinstance(schema, Mapping):
            raise TypeError(
                f"schema={schema!r:.80} is no JSON Schema: give a mapping, such as {{'type': 'object'}} or what "
                "model_json_schema() of a pydantic model returns"
            )
        data |= {"contentMediaType": "application/json", "contentSchema": deepcopy(dict(schema))}
    item = {
        "type": "object",
        "properties": {
            "data": data,
            "event": {"type": "string", "description": "The type of the event; without one it is a message."},
            "id": {"type": "string", "description": "What a client that reconnects sends as its Last-Event-ID."},
            "retry": {
                "type": "integer",
                "minimum": 0,
                "description": "Milliseconds to wait before reconnecting.",
            },
        },
        "required": ["data"],
    }
    return {MEDIA_TYPE: {"itemSchema": item}}
