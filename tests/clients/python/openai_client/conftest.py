"""The client, set up as its users set it up: a token and another base URL."""

import openai
import pytest


@pytest.fixture(scope="session", params=["/v1", "/v1beta/openai/"])
def client(request, url, token):
    return openai.OpenAI(api_key=token, base_url=url + request.param, max_retries=0)


@pytest.fixture
def fresh(url, token):
    def make(**options):
        options = {"api_key": token, "base_url": url + "/v1", "max_retries": 0, **options}
        return openai.OpenAI(**options)

    return make


@pytest.fixture
async def aio(url, token, anyio_backend):
    async with openai.AsyncOpenAI(api_key=token, base_url=url + "/v1", max_retries=0) as client:
        yield client
