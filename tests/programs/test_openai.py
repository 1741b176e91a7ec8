"""An endpoint as OpenAI's, read by the real `openai` package."""

import openai
import pytest

from support.programs.openai_server import WORDS
from support.servers import StartServer

APP = "support.programs.openai_server:app"

BOTH = pytest.mark.parametrize("how", ["route", "compat"])

pytestmark = pytest.mark.server


@BOTH
def test_a_completion_streams_and_pings_do_not_disturb_it(server: StartServer, how: str) -> None:
    with openai.OpenAI(base_url=f"{server(APP).url}/{how}", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(model="short", messages=[], stream=True)
        chunks = list(stream)
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == WORDS
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


@BOTH
@pytest.mark.anyio
@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_a_client_that_has_read_enough_costs_no_more_tokens(server: StartServer, how: str) -> None:
    running = server(APP)
    async with openai.AsyncOpenAI(base_url=f"{running.url}/{how}", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(model="endless", messages=[], stream=True)
        seen = [await anext(stream) for _ in range(4)]
        await stream.close()
        assert [chunk.choices[0].delta.content for chunk in seen[1:]] == WORDS[:3]
        running.wait_for_output("stopped", within=1.0)


def test_an_error_before_the_first_token_is_the_apis_own(server: StartServer) -> None:
    with openai.OpenAI(base_url=f"{server(APP).url}/route", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as failed:
            client.chat.completions.create(model="none", messages=[], stream=True)
        assert failed.value.body == {"detail": "no such model"}
