"""The client, set up as its users set it up: a token and another base URL."""

import pytest
from google import genai

MODEL = "gemini-3.8-flash"


@pytest.fixture(scope="session")
def client(url, token):
    return genai.Client(api_key=token, http_options={"base_url": url})


@pytest.fixture
def fresh(url, token):
    """A client for one test with an event loop of its own, or with other options."""

    def make(key=token, **options):
        return genai.Client(api_key=key, http_options={"base_url": url, **options})

    return make
