"""What an OpenAPI document says of an event stream, by itself and in the documents of frameworks."""

from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from litestar import Litestar, get
from litestar.openapi.spec import Operation
from litestar.params import FromQuery
from pydantic import BaseModel

from sse_mw import sse_route
from sse_mw.openapi import event_stream


class Token(BaseModel):
    text: str
    index: int = 0


TOKEN = Token.model_json_schema()


def check_item(item: dict[str, Any]) -> None:
    """By hand: an object with the four fields of an event, each of the type that a parser gives it."""
    assert item["type"] == "object"
    fields = item["properties"]
    assert list(fields) == ["data", "event", "id", "retry"]
    assert {name: field["type"] for name, field in fields.items()} == {
        "data": "string", "event": "string", "id": "string", "retry": "integer",
    }  # fmt: skip
    assert fields["retry"]["minimum"] == 0
    assert item["required"] == ["data"]  # an event without any is never dispatched


def test_without_a_schema_the_data_is_any_text() -> None:
    content = event_stream()
    assert list(content) == ["text/event-stream"]
    assert list(content["text/event-stream"]) == ["itemSchema"]
    check_item(content["text/event-stream"]["itemSchema"])
    assert content["text/event-stream"]["itemSchema"]["properties"]["data"] == {"type": "string"}


def test_with_a_schema_the_data_is_json_in_a_string() -> None:
    item = event_stream(TOKEN)["text/event-stream"]["itemSchema"]
    check_item(item)
    assert item["properties"]["data"] == {
        "type": "string", "contentMediaType": "application/json", "contentSchema": TOKEN,
    }  # fmt: skip


def test_an_empty_schema_says_any_json() -> None:
    data = event_stream({})["text/event-stream"]["itemSchema"]["properties"]["data"]
    assert data["contentMediaType"] == "application/json"
    assert data["contentSchema"] == {}


def test_each_call_gives_dictionaries_of_its_own() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}
    before = deepcopy(schema)
    event_stream(schema)["text/event-stream"]["itemSchema"]["properties"]["data"]["contentSchema"]["properties"].clear()
    event_stream()["text/event-stream"]["itemSchema"]["properties"].clear()
    assert schema == before
    check_item(event_stream()["text/event-stream"]["itemSchema"])


@pytest.mark.parametrize("schema", [Token, "object", True, []])
def test_what_is_no_schema_is_refused_with_a_remedy(schema: Any) -> None:
    with pytest.raises(TypeError, match="model_json_schema"):
        event_stream(schema)


def test_fastapis_document_contains_it_and_nothing_else() -> None:
    app = FastAPI()

    @app.get("/tokens", response_class=StreamingResponse, responses={200: {"content": event_stream(TOKEN)}})
    @sse_route
    async def tokens(prompt: str) -> AsyncIterator[Token]:
        """The tokens of an answer."""
        yield Token(text=prompt)

    operation = app.openapi()["paths"]["/tokens"]["get"]
    assert operation["responses"]["200"]["content"] == event_stream(TOKEN)
    assert operation["description"] == "The tokens of an answer."
    assert [parameter["name"] for parameter in operation["parameters"]] == ["prompt"]
    assert "422" in operation["responses"]


def test_it_says_what_fastapi_says_of_its_own_event_streams() -> None:
    app = FastAPI()

    @app.get("/tokens", response_class=EventSourceResponse)
    async def tokens() -> AsyncIterator[Token]:
        yield Token(text="x")

    content = app.openapi()["paths"]["/tokens"]["get"]["responses"]["200"]["content"]
    theirs = content["text/event-stream"]["itemSchema"]
    ours = event_stream({"$ref": "#/components/schemas/Token"})["text/event-stream"]["itemSchema"]
    for field in ours["properties"].values():
        field.pop("description", None)
    assert ours == theirs


@dataclass
class Streamed(Operation):
    """As Litestar wants an operation changed: it has no place for what a media type says besides its schema."""

    def __post_init__(self) -> None:
        assert self.responses is not None
        self.responses["200"].content = event_stream(TOKEN)  # type: ignore[union-attr]


def test_litestars_document_contains_it_and_nothing_else() -> None:
    @get("/tokens", operation_class=Streamed)
    @sse_route
    async def tokens(prompt: FromQuery[str]) -> AsyncIterator[Token]:
        """The tokens of an answer."""
        yield Token(text=prompt)

    operation = Litestar([tokens], logging_config=None).openapi_schema.to_schema()["paths"]["/tokens"]["get"]
    assert operation["responses"]["200"]["content"] == event_stream(TOKEN)
    assert [parameter["name"] for parameter in operation["parameters"]] == ["prompt"]
    assert "400" in operation["responses"]
